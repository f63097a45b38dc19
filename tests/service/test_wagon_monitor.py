"""wagon-monitor over HTTP: real clips take different walks, skipped updates are told, budgets change walks."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data import wagon4
from tests.conftest import StartServer
from tests.service.test_stream import events
from tests.service.wire import CLIENT, answer

VIDEO = {"Content-Type": "video/mp4"}
SKIPS = "explain=true&agreement=0.9"
"""A target whose price is below 0: walks skip, and stop nowhere."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(start_server: StartServer, zoo: Path) -> Iterator[str]:
    # No deadline shall raise the price, however slow the machine.
    with start_server("--models", str(zoo / "wagon-monitor"), OFFRAMP_DEFAULT_DEADLINE_MS="600000") as url:
        yield f"{url}/v1/models/wagon-monitor/predict"


@pytest.fixture(scope="module")
def clips(data_dir: Path) -> dict[str, bytes]:
    """A clip of each class that nothing was tuned on."""
    assert data_dir.is_dir()
    found = wagon4.load("devtest")
    return {name: found.videos[found.labels.tolist().index(place)] for place, name in enumerate(found.classes)}


def walk(url: str, clip: bytes, query: str = "explain=true") -> dict[str, Any]:
    told: dict[str, Any] = answer(CLIENT.post(f"{url}?{query}", content=clip, headers=VIDEO))
    return told


def ran(told: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The steps of one kind of stage."""
    return [step for step in told["walk"] if step["stage"].startswith(kind)]


def skipped(told: dict[str, Any]) -> list[dict[str, Any]]:
    """The looks at a thumbnail after which the state stayed as it was."""
    return [step for step in ran(told, "peek") if step["next"].startswith("peek")]


def test_two_clips_take_different_walks(served: str, clips: dict[str, bytes]) -> None:
    still, moving = (walk(served, clips[name], SKIPS) for name in ("no_action", "train_in_out"))
    ways = [tuple(step["stage"] for step in told["walk"]) for told in (still, moving)]
    assert ways[0] != ways[1]
    assert len(ran(still, "see")) < len(ran(moving, "see")) <= wagon4.MOMENTS, "where nothing happens less is seen"


def test_walks_of_no_target_differ_too(served: str, data_dir: Path) -> None:
    assert data_dir.is_dir()
    told = [walk(served, clip) for clip in wagon4.load("devtest").take(np.arange(0, 50, 4)).videos]
    assert len({tuple(step["stage"] for step in each["walk"]) for each in told}) > 1
    assert sum(len(skipped(each)) for each in told) > 0, "some update is skipped"
    assert np.mean([each["compute"]["fraction_of_full"] for each in told]) < 0.2


def test_explain_tells_frames_times_and_what_was_skipped(served: str, clips: dict[str, bytes]) -> None:
    told = walk(served, clips["no_action"], SKIPS)
    peeks, sees = ran(told, "peek"), ran(told, "see")
    passed = skipped(told)
    assert len(passed) > wagon4.MOMENTS / 2
    assert len(peeks) == len(sees) + len(passed)
    assert len(ran(told, "pool")) == len(sees), "a skipped update runs neither backbone nor pool"
    for step in passed:
        assert step["signals"]["novelty"] < step["signals"]["asked"]
        assert step["seen"][0]["time_s"] >= 0
    times = [step["seen"][0]["time_s"] for step in sees]
    assert len(set(times)) == len(times)
    kind, _, data = told["picture"].partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG")


def test_a_budget_changes_the_walk(served: str, clips: dict[str, bytes]) -> None:
    clip = clips["train_in_out"]
    full = walk(served, clip, "explain=true&agreement=1")
    assert len(ran(full, "see")) == wagon4.MOMENTS
    assert full["compute"]["fraction_of_full"] == 1
    assert not skipped(full)
    held = walk(served, clip, "explain=true&compute_mmacs=800")
    assert held["compute"]["mmacs"] <= 800
    assert 1 <= len(ran(held, "see")) <= 2
    default = walk(served, clip)
    assert default["compute"]["mmacs"] < full["compute"]["mmacs"]


def test_the_answer_grows_while_reading_goes_on(served: str, clips: dict[str, bytes]) -> None:
    stream = {"Accept": "text/event-stream"} | VIDEO
    with CLIENT.stream("POST", f"{served}?agreement=1", content=clips["bridge_down"], headers=stream) as response:
        told = list(events(response))
    exits = [data for event, data in told if event == "exit"]
    assert told[-1][0] == "final"
    assert len(exits) == wagon4.MOMENTS
    spent = [data["compute"]["mmacs"] for data in exits]
    assert spent == sorted(spent)
    assert told[-1][1]["output"] == exits[-1]["output"]
