"""Augmentation."""

from __future__ import annotations

import numpy as np
import pytest

from models.training.augmentation import GREY, Augmentation, alternating_flips, cutout_mask


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def test_without_shift_and_cutout_an_image_is_itself_or_its_mirror(images: np.ndarray) -> None:
    plain = Augmentation(shift=0, cutout=0)
    rows = np.array([3, 1])
    made = plain.draw(plain.pad(images), rows, np.array([False, True]), np.random.default_rng(0))
    assert np.array_equal(made[0], images[3])
    assert np.array_equal(made[1], images[1][:, ::-1])


def test_a_shifted_image_is_a_window_of_the_reflected_one(images: np.ndarray) -> None:
    shifting = Augmentation(shift=2, cutout=0)
    padded = shifting.pad(images)
    made = shifting.draw(padded, np.array([0] * 40), np.zeros(40, bool), np.random.default_rng(0))
    windows = [padded[0, y : y + 32, x : x + 32] for y in range(5) for x in range(5)]
    found = {next(i for i, window in enumerate(windows) if np.array_equal(window, one)) for one in made}
    assert len(found) > 10, "shifts vary"


def test_cutout_is_one_square_inside() -> None:
    mask = cutout_mask(50, 32, 8, np.random.default_rng(0))
    assert mask.shape == (50, 32, 32)
    assert mask.sum(axis=(1, 2)).tolist() == [64] * 50
    assert (mask.any(axis=1).sum(axis=1) == 8).all()


def test_what_is_cut_out_is_grey(images: np.ndarray) -> None:
    cutting = Augmentation(shift=0, cutout=8)
    made = cutting.draw(images, np.array([0]), np.array([False]), np.random.default_rng(0))
    changed = (made[0] != images[0]).any(axis=2)
    assert (made[0][changed] == GREY).all()
    assert 50 < changed.sum() <= 64


def test_two_epochs_show_both_sides() -> None:
    rows = np.arange(1000)
    first, second, third = (alternating_flips(rows, epoch, 0, 1000) for epoch in range(3))
    assert np.array_equal(first, ~second)
    assert np.array_equal(first, third)
    assert 400 < first.sum() < 600
