"""The frames, the confusion table, and views of frames."""

from __future__ import annotations

import os

import numpy as np
import pytest

from models.data import camvid
from models.data.camvid import Frames
from models.data.folder import DataMissing
from models.training.dense import class_weights, views


def test_intersections_by_hand() -> None:
    truth, answer = np.array([[0, 0, 1, 1, camvid.VOID]]), np.array([[0, 1, 1, 1, 3]])
    table = camvid.confusion(answer, truth)
    assert table.sum() == 4
    assert camvid.intersections(table)[:2].tolist() == [0.5, 2 / 3]


def test_views_begin_with_the_frames_themselves() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, camvid.HEIGHT, camvid.WIDTH, 3), dtype=np.uint8)
    masks = rng.integers(0, 12, (2, camvid.HEIGHT, camvid.WIDTH), dtype=np.uint8)
    frames = Frames(images, masks, (b"", b""))
    seen, known = views(frames, 2, seed=0)
    assert np.array_equal(seen[:2], images)
    assert np.array_equal(known[:2], masks)
    assert known.max() <= camvid.VOID
    assert np.array_equal(views(frames, 2, seed=0)[0], seen)


def test_rare_classes_weigh_more_within_bounds() -> None:
    masks = np.zeros((1, 100, 100), np.uint8)
    masks[0, 0, :5] = 1
    masks[0, 1:30] = 2
    weights = class_weights(masks, 3)
    assert weights[1] > weights[2] > weights[0]
    assert weights.max() <= 4


def test_missing_data_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OFFRAMP_DATA", raising=False)
    with pytest.raises(DataMissing, match="OFFRAMP_DATA is not set"):
        camvid.load("val")


@pytest.mark.skipif("OFFRAMP_DATA" not in os.environ, reason="OFFRAMP_DATA names no folder of data sets")
def test_frames_have_a_class_for_every_pixel() -> None:
    frames = camvid.load("val")
    assert frames.images.shape == (101, 360, 480, 3)
    assert frames.masks.max() <= camvid.VOID
    assert camvid.classes()[8:] == ("Car", "Pedestrian", "Bicyclist")
