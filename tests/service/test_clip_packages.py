"""The packages that read clips, over HTTP: real clips part ways, `explain` shows what was read, budgets move walks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data import ucf101
from tests.conftest import StartServer
from tests.service.test_stream import events
from tests.service.wire import CLIENT, answer

PACKAGES = {"ucf-frames": "novelty", "ucf-keyframes": "share", "ucf-hierarchical": "ask", "ucf-agent": "moment"}
"""What the router of each tells after the first stage."""
VIDEO = {"Content-Type": "video/mp4"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(start_server: StartServer, zoo: Path, name: str) -> Iterator[str]:
    # No deadline shall raise the price, however slow the machine.
    with start_server("--models", str(zoo / name), OFFRAMP_DEFAULT_DEADLINE_MS="600000") as url:
        yield f"{url}/v1/models/{name}/predict"


@pytest.fixture(scope="module")
def clips(data_dir: Path) -> tuple[bytes, ...]:
    """Files that nothing was tuned on, of every class."""
    assert data_dir.is_dir()
    return ucf101.load("devtest").take(np.arange(2, 144, 12)).videos


def walk(url: str, clip: bytes, query: str = "explain=true") -> dict[str, Any]:
    told: dict[str, Any] = answer(CLIENT.post(f"{url}?{query}", content=clip, headers=VIDEO))
    return told


def frames(told: dict[str, Any]) -> int:
    """How many frames the backbone saw."""
    return sum(len(step["seen"]) for step in told["walk"] if step["stage"].startswith("see"))


def way(told: dict[str, Any]) -> tuple[Any, ...]:
    return tuple((step["stage"], *(str(one) for one in step["seen"])) for step in told["walk"])


def test_clips_take_different_walks_and_budgets_change_them(served: str, name: str, clips: tuple[bytes, ...]) -> None:
    default = [walk(served, clip) for clip in clips]
    stages = {tuple(step[0] for step in way(told)) for told in default}
    assert len({way(told) for told in default}) > 1
    assert len(stages) > 1 or name == "ucf-keyframes", "its stages are the same for all, but the frames aren't"
    full = walk(served, clips[0], "explain=true&agreement=1")
    assert frames(full) == ucf101.MOMENTS
    assert full["compute"]["fraction_of_full"] == 1
    assert np.mean([frames(told) for told in default]) < ucf101.MOMENTS
    held = walk(served, clips[0], "explain=true&compute_mmacs=700")
    assert held["compute"]["mmacs"] <= 700
    assert frames(held) <= 2


def test_explain_tells_what_was_read_and_shows_it(served: str, name: str, clips: tuple[bytes, ...]) -> None:
    told = walk(served, clips[1], "explain=true&agreement=1")
    assert PACKAGES[name] in told["walk"][0]["signals"]
    times = [one["time_s"] for step in told["walk"] if step["stage"].startswith("see") for one in step["seen"]]
    assert len(set(times)) == ucf101.MOMENTS, "each moment once"
    assert told["picture"].startswith("data:image/png;base64,")


def test_the_answer_grows_while_reading_goes_on(served: str, name: str, clips: tuple[bytes, ...]) -> None:
    stream = {"Accept": "text/event-stream"} | VIDEO
    with CLIENT.stream("POST", f"{served}?agreement=1", content=clips[2], headers=stream) as response:
        told = list(events(response))
    exits = [data for event, data in told if event == "exit"]
    assert told[-1][0] == "final"
    assert len(exits) == {"ucf-keyframes": 1, "ucf-hierarchical": 32}.get(name, ucf101.MOMENTS)
    spent = [data["compute"]["mmacs"] for data in exits]
    assert spent == sorted(spent)
    assert told[-1][1]["output"] == exits[-1]["output"]
