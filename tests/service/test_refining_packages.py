"""The packages that refine what is doubtful, over HTTP: frames differ in how many parts are, and budgets move it."""

from __future__ import annotations

import base64
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.task.maps import unrolled
from tests.service.wire import CLIENT, answer, inputs

PACKAGES = {
    "camvid-refine": ("coarse", "tile", "paste", "point", "place"),
    "camvid-detect": ("propose", "look", "merge"),
}
TARGETS = {"camvid-refine": 0.9, "camvid-detect": 0.6}
"""Agreements that are certified on the way between the cheapest walk and the full one."""
FRAMES = range(0, 116, 14)
POINT = 3
FEW = 0.86
"""Agreement that is certified without a tile, but with points."""
COARSE_MMACS, TILE_MMACS, POINT_MMACS = 346.9, 10.30656, 1.659648


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


def refined(answers: list[dict[str, Any]], stage: int = 1) -> list[int]:
    """How many parts each walk refined, as its boxes or points tell."""
    return [sum(len(step["seen"]) for step in one["walk"] if stage_of(one, step) == stage) for one in answers]


def stage_of(one: dict[str, Any], step: dict[str, Any]) -> int:
    return PACKAGES[one["model"]].index(step["stage"])


def mmacs(answers: list[dict[str, Any]]) -> list[float]:
    return [one["compute"]["mmacs"] for one in answers]


def test_frames_have_different_numbers_of_parts_refined_and_a_budget_changes_them(
    served: str, name: str, frames: list[bytes]
) -> None:
    full, some = walks(served, name, frames, agreement=1), walks(served, name, frames, agreement=TARGETS[name])
    assert all(one["compute"]["fraction_of_full"] == 1 for one in full)
    assert {tuple(step["stage"] for step in one["walk"]) for one in full} == {PACKAGES[name]}
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


@pytest.mark.parametrize("name", ["camvid-refine"], scope="module")
def test_points_are_refined_last_and_explain_shows_which(served: str, name: str, frames: list[bytes]) -> None:
    full, some, few, none = (
        walks(served, name, frames, **budget)
        for budget in ({"agreement": 1}, {}, {"agreement": FEW}, {"compute_mmacs": COARSE_MMACS})
    )
    assert set(refined(full, POINT)) == {64}
    assert set(refined(few)) == {0}, "points pay where tiles don't"
    assert len(set(refined(few, POINT))) > 2
    assert all(one["exit"] == "coarse" for one in none)
    assert np.mean(mmacs(some)) < 0.6 * np.mean(mmacs(full))
    for one in full[:2]:
        *_, pasted, point, placed = one["walk"]
        spots = np.array([spot for row in point["seen"] for spot in row["points"]])
        assert (len(spots), len(np.unique(spots, axis=0))) == (4096, 4096)
        assert spots.min() >= 0
        assert (spots.max(axis=0) < [360, 480]).all()
        assert pasted["signals"]["refined"] == 64
        assert point["rows"] == 64
        assert placed["seen"] == []
    by_hand = COARSE_MMACS + 90 * TILE_MMACS + 64 * POINT_MMACS
    assert mmacs(full)[0] == pytest.approx(by_hand, abs=0.1)


@pytest.mark.parametrize("name", ["camvid-refine"], scope="module")
def test_the_picture_has_the_points(served: str, name: str, frames: list[bytes]) -> None:
    drawn = []
    for answers in (walks(served, name, frames[:2], agreement=target) for target in (1, 0.5)):
        picture = Image.open(BytesIO(base64.b64decode(answers[0]["picture"].partition(",")[2]))).convert("RGB")
        colours = np.asarray(picture, int)
        drawn.append((np.abs(colours - [0, 255, 156]).sum(axis=2) < 40).sum())
    assert drawn[0] > 1000
    assert drawn[1] < 20
