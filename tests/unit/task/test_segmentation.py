"""A class a pixel: shares of the area, maps as runs or PNG, and the share of pixels that differ."""

import base64
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from service.task.maps import png, runs, unrolled
from service.task.segmentation import Segmentation

LABELS = ("sky", "road", "car")
TASK = Segmentation()


def answer(classes: NDArray[np.integer], probability: float = 0.75) -> NDArray[np.float32]:
    return np.stack([classes, np.full(classes.shape, probability)]).astype(np.float32)


MAP = np.array([[0, 0, 0, 1], [1, 1, 1, 1]])


def test_the_document_has_the_shares_of_the_area_and_the_map() -> None:
    shown = TASK.document(answer(MAP), LABELS, "runs")
    assert shown["classes"] == [
        {"label": "road", "share": 0.625, "probability": 0.75},
        {"label": "sky", "share": 0.375, "probability": 0.75},
    ]
    assert shown["map"] == {"height": 2, "width": 4, "runs": [0, 3, 1, 5]}
    assert TASK.headline(shown) == "road 62.5%, sky 37.5%"


def test_the_map_is_a_png_or_nothing_where_asked() -> None:
    shown = TASK.document(answer(MAP), LABELS, "png")
    picture = Image.open(BytesIO(base64.b64decode(shown["map"]["png"])))
    assert picture.mode == "P"
    assert np.array_equal(np.asarray(picture), MAP)
    assert "map" not in TASK.document(answer(MAP), LABELS, "none")


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_runs_unroll_to_the_map(height: int, width: int, seed: int) -> None:
    classes = np.random.default_rng(seed).integers(0, 3, (height, width)).astype(np.uint8)
    assert np.array_equal(unrolled(runs(classes), height, width), classes)
    assert np.array_equal(np.asarray(Image.open(BytesIO(png(classes)))), classes)


def test_the_loss_is_the_share_of_pixels_that_differ() -> None:
    other = MAP.copy()
    other[0, 0] = 2
    one, two = TASK.kept(answer(MAP)), TASK.kept(answer(other))
    assert (TASK.loss(one, one), TASK.loss(one, two)) == (0.0, 0.125)


def test_tensors_are_maps_and_probabilities() -> None:
    answers = np.stack([answer(MAP), answer(MAP)])
    made = {column.name: np.asarray(TASK.tensor(column.name, answers, LABELS)) for column in TASK.columns(3)}
    assert (made["map"].dtype.name, made["map"].shape) == ("uint8", (2, 2, 4))
    assert made["probability"].max() == pytest.approx(0.75)
