"""The shipped packages that skip blocks, over HTTP, on pictures that nothing was tuned on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import StartServer
from tests.service.wire import CLIENT, answer, inputs

SIGNALS = {"cifar10-skip-gate": "gate", "cifar10-skip-policy": "policy", "cifar10-skip-halting": "remaining"}
PICTURES = 40


@dataclass(frozen=True)
class Served:
    """A package on a server of its own."""

    name: str
    url: str

    def walks(self, files: list[bytes], **budget: float) -> list[dict[str, Any]]:
        document = {"inputs": inputs(*files), "budget": budget, "explain": True}
        shown: list[dict[str, Any]] = answer(CLIENT.post(f"{self.url}/v1/models/{self.name}/predict", json=document))[
            "answers"
        ]
        return shown


def route(shown: dict[str, Any]) -> tuple[str, ...]:
    """The stages that a walk ran."""
    return tuple(step["stage"] for step in shown["walk"])


@pytest.fixture(scope="module", params=SIGNALS)
def served(request: pytest.FixtureRequest, start_server: StartServer, zoo: Path) -> Iterator[Served]:
    path = zoo / request.param
    # Pictures come in crowds here: no deadline shall raise the price, however slow the machine.
    with start_server("--models", str(path), OFFRAMP_DEFAULT_DEADLINE_MS="600000") as url:
        yield Served(request.param, url)


@pytest.fixture(scope="module")
def pictures(data_dir: Path) -> list[bytes]:
    """JPEG files."""
    with np.load(data_dir / "cifar10" / "devtest.npz", allow_pickle=False) as archive:
        joined, cuts = archive["jpeg"], archive["offsets"][: PICTURES + 1]
    return [joined[start:end].tobytes() for start, end in pairwise(cuts)]


def test_pictures_take_different_routes_and_are_told_why(served: Served, pictures: list[bytes]) -> None:
    shown = served.walks(pictures, agreement=0.97)
    assert len({route(one) for one in shown}) > 1
    signal = SIGNALS[served.name]
    for one in shown:
        deciding = [step for step in one["walk"] if step["signals"]]
        assert deciding, "no stage says why it decided so"
        for step in deciding:
            values, threshold = step["signals"][signal], step["signals"]["threshold"]
            ran_next = step["next"] is not None and step["next"].startswith("block")
            assert ran_next == (max(values) >= threshold)


def test_the_full_price_runs_every_block(served: Served, pictures: list[bytes]) -> None:
    for one in served.walks(pictures, agreement=1):
        assert sum(stage.startswith("block") for stage in route(one)) == 5
        assert one["compute"]["fraction_of_full"] == 1


def test_budgets_change_the_route(served: Served, pictures: list[bytes]) -> None:
    full, close, loose = (
        np.mean([one["compute"]["fraction_of_full"] for one in served.walks(pictures, agreement=share)])
        for share in (1, 0.98, 0.85)
    )
    assert full == 1
    assert full > close > loose
    limited = served.walks(pictures, compute_mmacs=40)
    assert max(one["compute"]["mmacs"] for one in limited) <= 40
