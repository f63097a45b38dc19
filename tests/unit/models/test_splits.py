"""Splits of a training set."""

from __future__ import annotations

import numpy as np
import pytest

from models.data.splits import index_hash, stratified

LABELS = np.repeat(np.arange(10), 100)


def test_no_row_serves_two_and_all_serve() -> None:
    parts = stratified(LABELS, router=50, calibration=100, seed=0)
    rows = np.concatenate([index for _, index in parts.items()])
    assert sorted(rows.tolist()) == list(range(1000))
    assert [len(index) for _, index in parts.items()] == [850, 50, 100]


def test_classes_have_equal_shares() -> None:
    parts = stratified(LABELS, router=50, calibration=100, seed=0)
    assert np.bincount(LABELS[parts.router]).tolist() == [5] * 10
    assert np.bincount(LABELS[parts.calibration]).tolist() == [10] * 10


def test_the_seed_decides() -> None:
    one, same, other = (stratified(LABELS, router=50, calibration=100, seed=seed).hashes() for seed in (0, 0, 1))
    assert one == same
    assert one["router"] != other["router"]


def test_the_hash_is_of_little_endian_int32() -> None:
    assert index_hash(np.array([1], ">i4")) == index_hash(np.array([1], "<i4"))


def test_uneven_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="router=15 does not divide by the 10 classes"):
        stratified(LABELS, router=15, calibration=100, seed=0)


def test_a_class_that_is_too_small_is_named() -> None:
    with pytest.raises(ValueError, match="class 0 has 100 rows"):
        stratified(LABELS, router=500, calibration=500, seed=0)
