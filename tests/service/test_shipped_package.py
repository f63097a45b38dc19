"""The shipped image package, over HTTP, on pictures that nothing was tuned on: the figures that README promises."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import StartServer
from tests.service.wire import CLIENT, answer, encode

NAME = "cifar10-early-exit"
COUNT = 500
FLOOR, FRACTION, DROP = 0.893, 0.45, 0.008
"""Least accuracy of the full network; largest mean share of its MACs by default, and largest loss of accuracy then."""


@pytest.fixture(scope="module")
def shipped(zoo: Path) -> Path:
    """The package; the server need not load others for this."""
    path = zoo / NAME
    if not path.is_dir():
        pytest.skip(f"models/zoo/{NAME} is not there")
    return path


@pytest.fixture(scope="module")
def served(start_server: StartServer, shipped: Path) -> Iterator[str]:
    with start_server("--models", str(shipped)) as url:
        yield url


@pytest.fixture(scope="module")
def pictures(data_dir: Path) -> tuple[list[bytes], list[str]]:
    """JPEG files and their labels."""
    with np.load(data_dir / "cifar10" / "devtest.npz", allow_pickle=False) as archive:
        joined, cuts, labels, names = (archive[key] for key in ("jpeg", "offsets", "labels", "classes"))
    chosen = np.random.default_rng(0).choice(len(labels), COUNT, replace=False)
    files = [joined[cuts[place] : cuts[place + 1]].tobytes() for place in chosen]
    return files, [str(names[labels[place]]) for place in chosen]


@dataclass(frozen=True)
class Score:
    """What a budget came to."""

    accuracy: float
    fraction: float


def send(url: str, budget: dict[str, Any], file: bytes) -> dict[str, Any]:
    return answer(CLIENT.post(f"{url}/v1/models/{NAME}/predict", content=file, params=budget))


def measure(url: str, files: list[bytes], labels: list[str], **budget: Any) -> Score:
    with ThreadPoolExecutor(8) as threads:
        shown = list(threads.map(partial(send, url, budget), files))
    right = [one["output"]["label"] == label for one, label in zip(shown, labels, strict=True)]
    return Score(float(np.mean(right)), float(np.mean([one["compute"]["fraction_of_full"] for one in shown])))


def as_png(file: bytes) -> bytes:
    return encode(np.asarray(Image.open(io.BytesIO(file)).convert("RGB")))


def test_it_keeps_what_is_promised(served: str, pictures: tuple[list[bytes], list[str]]) -> None:
    files, labels = pictures
    full = measure(served, files, labels, agreement=1)
    assert full.fraction == 1
    assert full.accuracy >= FLOOR
    default = measure(served, files, labels)
    assert default.fraction <= FRACTION
    assert default.accuracy >= full.accuracy - DROP
    pixels = measure(served, [as_png(file) for file in files], labels, agreement=1)
    assert pixels.accuracy == pytest.approx(full.accuracy, abs=0.004), "PNG and JPEG of the same pixels"


def test_a_picture_of_any_size_is_taken(served: str) -> None:
    for side in (1, 31, 33, 700):
        picture = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
        assert send(served, {}, encode(picture))["model"] == NAME
