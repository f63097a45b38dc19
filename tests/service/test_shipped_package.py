"""The shipped image package, over HTTP, on pictures that nothing was tuned on: the figures that README promises."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import StartServer
from tests.service.wire import CLIENT, answer, encode, inputs

NAME = "cifar10-early-exit"
INPUTS = 50
"""Pictures a request."""
PNGS = 500
FLOOR, FRACTION, DROP = 0.893, 0.45, 0.008
"""Least accuracy of the full network; largest mean share of its MACs by default, and largest loss of accuracy then."""


@pytest.fixture(scope="module")
def shipped(zoo: Path) -> Path:
    """The package; the server need not load others for this."""
    return zoo / NAME


@pytest.fixture(scope="module")
def served(start_server: StartServer, shipped: Path) -> Iterator[str]:
    # Pictures come in crowds here: no deadline shall raise the price, however slow the machine.
    with start_server("--models", str(shipped), OFFRAMP_DEFAULT_DEADLINE_MS="600000") as url:
        yield url


@pytest.fixture(scope="module")
def pictures(data_dir: Path) -> tuple[list[bytes], list[str]]:
    """JPEG files and their labels."""
    with np.load(data_dir / "cifar10" / "devtest.npz", allow_pickle=False) as archive:
        joined, cuts, labels, names = (archive[key] for key in ("jpeg", "offsets", "labels", "classes"))
    files = [joined[start:end].tobytes() for start, end in pairwise(cuts)]
    return files, [str(names[label]) for label in labels]


@dataclass(frozen=True)
class Score:
    """What a budget came to."""

    accuracy: float
    fraction: float


def send(url: str, budget: dict[str, Any], files: list[bytes]) -> list[dict[str, Any]]:
    document = {"inputs": inputs(*files), "budget": budget}
    answers: list[dict[str, Any]] = answer(CLIENT.post(f"{url}/v1/models/{NAME}/predict", json=document))["answers"]
    return answers


def measure(url: str, files: list[bytes], labels: list[str], **budget: Any) -> Score:
    parts = [files[start : start + INPUTS] for start in range(0, len(files), INPUTS)]
    with ThreadPoolExecutor(2) as threads:
        shown = list(chain.from_iterable(threads.map(partial(send, url, budget), parts)))
    right = [one["output"]["label"] == label for one, label in zip(shown, labels, strict=True)]
    return Score(float(np.mean(right)), float(np.mean([one["compute"]["fraction_of_full"] for one in shown])))


def as_png(file: bytes) -> bytes:
    return encode(np.asarray(Image.open(io.BytesIO(file)).convert("RGB")))


@pytest.mark.slow
def test_it_keeps_what_is_promised(served: str, pictures: tuple[list[bytes], list[str]]) -> None:
    files, labels = pictures
    full = measure(served, files, labels, agreement=1)
    assert full.fraction == 1
    assert full.accuracy >= FLOOR
    default = measure(served, files, labels)
    assert default.fraction <= FRACTION
    assert default.accuracy >= full.accuracy - DROP


@pytest.mark.slow
def test_png_and_jpeg_of_the_same_pixels_are_the_same(served: str, pictures: tuple[list[bytes], list[str]]) -> None:
    files, labels = (part[:PNGS] for part in pictures)
    as_jpeg = measure(served, files, labels, agreement=1)
    assert measure(served, [as_png(file) for file in files], labels, agreement=1) == as_jpeg


def test_a_picture_of_any_size_is_taken(served: str) -> None:
    for side in (1, 31, 33, 700):
        picture = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
        shown = answer(CLIENT.post(f"{served}/v1/models/{NAME}/predict", content=encode(picture)))
        assert shown["model"] == NAME
