"""The packages that refine what is doubtful, over HTTP: frames differ in how many parts are, and budgets move it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.task.maps import unrolled
from tests.conftest import StartServer
from tests.service.wire import CLIENT, answer, inputs

NAMES = {"camvid-refine": ("coarse", "tile", "paste"), "camvid-detect": ("propose", "look", "merge")}
TARGETS = {"camvid-refine": 0.9, "camvid-detect": 0.6}
"""Agreements that are certified on the way between the cheapest walk and the full one."""
FRAMES = range(0, 116, 14)


@pytest.fixture(scope="module", params=list(NAMES))
def name(request: pytest.FixtureRequest, zoo: Path) -> str:
    found = str(request.param)
    if not (zoo / found).is_dir():
        pytest.skip(f"models/zoo/{found} is not there")
    return found


@pytest.fixture(scope="module")
def served(start_server: StartServer, zoo: Path, name: str) -> Iterator[str]:
    # No deadline shall raise the price, however slow the machine.
    with start_server("--models", str(zoo / name), OFFRAMP_DEFAULT_DEADLINE_MS="600000") as url:
        yield url


@pytest.fixture(scope="module")
def frames(data_dir: Path) -> list[bytes]:
    """JPEG files that nothing was tuned on."""
    with np.load(data_dir / "camvid" / "devtest.npz", allow_pickle=False) as archive:
        cuts, joined = list(pairwise(archive["offsets"].tolist())), archive["jpeg"]
        return [joined[slice(*cuts[place])].tobytes() for place in FRAMES]


def walks(url: str, name: str, frames: list[bytes], query: str = "", **budget: Any) -> list[dict[str, Any]]:
    document = {"inputs": inputs(*frames), "budget": budget, "explain": True}
    response = CLIENT.post(f"{url}/v1/models/{name}/predict{query}", json=document, timeout=300)
    answers: list[dict[str, Any]] = answer(response)["answers"]
    return answers


def refined(answers: list[dict[str, Any]]) -> list[int]:
    """How many parts each walk refined, as its boxes tell."""
    return [sum(len(step["seen"]) for step in one["walk"][1:]) for one in answers]


def mmacs(answers: list[dict[str, Any]]) -> list[float]:
    return [one["compute"]["mmacs"] for one in answers]


def test_frames_have_different_numbers_of_parts_refined_and_a_budget_changes_them(
    served: str, name: str, frames: list[bytes]
) -> None:
    full, some = walks(served, name, frames, agreement=1), walks(served, name, frames, agreement=TARGETS[name])
    assert all(one["compute"]["fraction_of_full"] == 1 for one in full)
    assert {tuple(step["stage"] for step in one["walk"]) for one in full} == {NAMES[name]}
    assert len(set(refined(full))) == 1
    assert len(set(refined(some))) > 1
    assert np.mean(mmacs(some)) < np.mean(mmacs(full))


def test_a_walk_leaves_nothing_behind_for_the_next(served: str, name: str, frames: list[bytes]) -> None:
    before = walks(served, name, frames[:2], agreement=TARGETS[name])
    walks(served, name, frames, agreement=1)
    after = walks(served, name, frames[:2], agreement=TARGETS[name])
    assert [one["output"] for one in before] == [one["output"] for one in after]


def test_a_limit_of_compute_cuts_the_least_doubtful_parts(served: str, name: str, frames: list[bytes]) -> None:
    full = walks(served, name, frames[:3], agreement=1)
    limit = np.mean(mmacs(full)) * 0.7
    held = walks(served, name, frames[:3], compute_mmacs=float(limit))
    assert max(mmacs(held)) <= limit
    assert 0 < max(refined(held)) < min(refined(full))


def test_explain_shows_the_parts(served: str, name: str, frames: list[bytes]) -> None:
    (one, _) = walks(served, name, frames[:2], agreement=1)
    assert one["walk"][0]["signals"]["refined"] == len(one["walk"][1]["seen"])
    top, left, bottom, right = one["walk"][1]["seen"][0]["box"]
    assert 0 <= top < bottom <= 360
    assert 0 <= left < right <= 480
    picture = Image.open(BytesIO(base64.b64decode(one["picture"].partition(",")[2])))
    assert picture.format == "PNG"


def test_the_answer_is_a_map_or_boxes(served: str, name: str, frames: list[bytes]) -> None:
    as_runs, as_png = (walks(served, name, frames[:2], query, agreement=1) for query in ("?map=runs", "?map=png"))
    output = as_runs[0]["output"]
    if name == "camvid-detect":
        assert {one["label"] for one in output["boxes"]} <= {"car", "pedestrian", "bicyclist"}
        assert all(one["probability"] >= 0.5 for one in output["boxes"])
        return
    shown = output["map"]
    classes = unrolled(shown["runs"], shown["height"], shown["width"])
    assert classes.shape == (360, 480)
    assert sum(one["share"] for one in output["classes"]) == pytest.approx(1, abs=1e-4)
    drawn = Image.open(BytesIO(base64.b64decode(as_png[0]["output"]["map"]["png"])))
    assert np.array_equal(np.asarray(drawn), classes)


def test_the_protocol_carries_it_as_tensors(served: str, name: str, frames: list[bytes]) -> None:
    told = CLIENT.get(f"{served}/v2/models/{name}").json()["outputs"]
    wanted = ["map", "probability"] if name == "camvid-refine" else ["label", "probability", "box"]
    assert [one["name"] for one in told] == wanted
