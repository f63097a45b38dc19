"""The packages that choose widths, branches and kernels, over HTTP: pictures part ways, and budgets move them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.service.wire import CLIENT, answer, inputs

PACKAGES = {"cifar10-width": "value", "cifar10-supernet": "margin", "cifar10-dynamic-kernels": None}
"""What the router of each tells after the first stage."""
PICTURES = 40


@pytest.fixture(scope="module")
def pictures(data_dir: Path) -> list[bytes]:
    """JPEG files that nothing was tuned on."""
    with np.load(data_dir / "cifar10" / "devtest.npz", allow_pickle=False) as archive:
        joined, cuts = archive["jpeg"], archive["offsets"]
        return [joined[start:end].tobytes() for start, end in pairwise(cuts[: PICTURES + 1])]


def walks(url: str, name: str, pictures: list[bytes], **budget: Any) -> list[dict[str, Any]]:
    document = {"inputs": inputs(*pictures), "budget": budget, "explain": True}
    answers: list[dict[str, Any]] = answer(CLIENT.post(f"{url}/v1/models/{name}/predict", json=document))["answers"]
    return answers


def routes(answers: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [tuple(step["stage"] for step in one["walk"]) for one in answers]


def mmacs(answers: list[dict[str, Any]]) -> list[float]:
    return [one["compute"]["mmacs"] for one in answers]


def test_pictures_take_different_ways_and_a_budget_changes_them(served: str, name: str, pictures: list[bytes]) -> None:
    full = walks(served, name, pictures, agreement=1)
    default = walks(served, name, pictures)
    assert all(one["compute"]["fraction_of_full"] == 1 for one in full)
    assert len(set(routes(default))) > 1
    assert routes(default) != routes(full)
    assert np.mean(mmacs(default)) < np.mean(mmacs(full))


def test_a_limit_of_compute_holds(served: str, name: str, pictures: list[bytes]) -> None:
    least = min(mmacs(walks(served, name, pictures)))
    held = walks(served, name, pictures, compute_mmacs=least)
    assert max(mmacs(held)) <= least


def test_explain_tells_how_the_kernels_of_each_picture_were_mixed(
    served: str, name: str, pictures: list[bytes]
) -> None:
    if name != "cifar10-dynamic-kernels":
        pytest.skip("no mixed kernels")
    for stage, mixtures in (("block2", 2), ("block3", 6)):
        shown = [
            step["signals"]
            for one in walks(served, name, pictures, agreement=1)
            for step in one["walk"]
            if step["stage"] == stage
        ]
        shares = np.array([[each[mixture] for mixture in sorted(each)] for each in shown])
        assert shares.shape[:2] == (PICTURES, mixtures)
        assert np.allclose(shares.sum(axis=2), 1, atol=1e-4)
        assert shares.std(axis=0).max() > 0.01, "every picture has the same kernels"


def test_explain_tells_what_the_router_went_by(served: str, name: str, pictures: list[bytes]) -> None:
    shown = walks(served, name, pictures[:2])[0]["walk"][0]
    signal = PACKAGES[name]
    assert 0 <= shown["score"] <= 1
    if signal is not None:
        assert signal in shown["signals"]
