"""Losses by hand, and what can't be a record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from numpy.typing import NDArray

from service.errors import PackageError
from service.package.graph import StageGraph
from service.package.record import LOSSES, Record, read

FILE = Path("calibration.npz")
CHAIN = StageGraph(("a", "b", "c"), (2, 3, 4), ((1,), (2,), ()), ("x", "y", "z"), (0, 1, 2), 9)
INF = float("inf")
Arrays = dict[str, NDArray[Any]]


def valid() -> Arrays:
    """Three prices, four samples: full, between, cheapest."""
    return {
        "prices": np.array([-INF, 0.5, INF]),
        "labels": np.array([0, 1, 2, 0], np.int16),
        "predictions": np.array([[0, 1, 0, 1], [0, 2, 2, 1], [1, 2, 2, 0]], np.int16),
        "exits": np.array([[2, 2, 2, 2], [0, 1, 1, 2], [0, 0, 0, 0]], np.int8),
        "macs": np.array([[9, 9, 9, 9], [2, 5, 5, 9], [2, 2, 2, 2]], np.int64),
    }


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("accuracy", [[0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 0, 0]]),
        ("agreement", [[0, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]]),
        # Samples 2 and 3, where the full network is wrong, can't be spoilt, nor do they earn anything when mended.
        ("max_drop", [[0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0]]),
    ],
)
def test_losses_by_hand(kind: str, expected: list[list[int]]) -> None:
    assert read(valid(), FILE, CHAIN).losses(kind).astype(int).tolist() == expected


def test_every_kind_of_target_has_its_loss() -> None:
    assert [read(valid(), FILE, CHAIN).losses(kind).dtype for kind in LOSSES] == [np.bool_] * 3


def test_narrower_and_wider_integers_are_taken_if_they_fit() -> None:
    arrays = valid()
    arrays |= {"labels": arrays["labels"].astype(np.uint8), "exits": arrays["exits"].astype(np.int64)}
    record = read(arrays, FILE, CHAIN)
    assert (record.labels.dtype, record.exits.dtype) == (np.int16, np.int8)
    assert record.labels.tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("name", valid())
def test_every_array_is_needed(name: str) -> None:
    arrays = valid()
    del arrays[name]
    with pytest.raises(PackageError, match=rf"calibration\.npz: {name}: array is missing; make the file again"):
        read(arrays, FILE, CHAIN)


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("prices", lambda a: a[:-1], r"must rise strictly from -inf \(full\) to \+inf"),
        ("prices", lambda a: a[1:], "must rise"),
        ("prices", lambda a: a[::-1], "must rise"),
        ("prices", lambda a: a[[0, 1, 1, 2]], "must rise"),
        ("prices", lambda a: a[:1], "must rise"),
        ("prices", lambda a: a[:0], "must rise"),
        ("prices", lambda a: np.array([-INF, np.nan, INF]), "must rise"),
        ("prices", lambda a: a[None], "2 axes"),
        ("prices", lambda a: np.array(a.tolist(), str), "float64"),
        ("labels", lambda a: a[:0], "no samples"),
        ("labels", lambda a: np.array(0), "0 axes"),
        ("labels", lambda a: a.astype(float), "float64 with 1 axes is not int16"),
        ("labels", lambda a: a.astype(np.int64) + 2**16, "int16 can't hold"),
        ("predictions", lambda a: a[:, :-1], r"shape \(3, 3\) is not \(prices, samples\) = \(3, 4\)"),
        ("predictions", lambda a: a[0], "1 axes"),
        ("exits", lambda a: a[:-1], r"shape \(2, 4\)"),
        ("exits", lambda a: a.astype(int) + 200, "can't hold"),
        ("macs", lambda a: a.T, r"shape \(4, 3\)"),
        ("macs", lambda a: a.astype(object), "object"),
    ],
)
def test_what_is_no_record_is_refused_by_name(
    name: str, change: Callable[[NDArray[Any]], NDArray[Any]], problem: str
) -> None:
    arrays = valid()
    arrays[name] = change(arrays[name])
    with pytest.raises(PackageError, match=problem) as caught:
        read(arrays, FILE, CHAIN)
    assert (caught.value.file, caught.value.field) == (str(FILE), name)
    assert caught.value.remedy


any_array = arrays_of.arrays(
    dtype=arrays_of.scalar_dtypes(), shape=arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
)


@given(strange=st.dictionaries(st.sampled_from(sorted(valid())), any_array))
def test_strange_arrays_are_refused_as_a_broken_package_or_taken(strange: Arrays) -> None:
    try:
        record = read(valid() | strange, FILE, CHAIN)
    except PackageError:
        return
    assert isinstance(record, Record)
    assert record.losses("max_drop").shape == (len(record.prices), record.size)


def shares() -> Arrays:
    """The same of dense answers."""
    arrays = {name: array for name, array in valid().items() if name not in ("labels", "predictions")}
    return arrays | {
        "agreement": np.array([[1, 1, 1, 1], [1, 0.75, 1, 0.5], [0.5, 0.5, 0.5, 0.5]], np.float32),
        "quality": np.array([[0.5, 1, 1, 0.75], [0.75, 0.75, 1, 0.5], [0.25, 0.5, 0.5, 0.5]], np.float32),
    }


def test_shares_are_losses_in_between() -> None:
    record = read(shares(), FILE, CHAIN, counted=False)
    assert (record.size, record.counted) == (4, False)
    assert record.losses("agreement")[1].tolist() == [0, 0.25, 0, 0.5]
    assert record.losses("accuracy")[1].tolist() == [0.25, 0.25, 0, 0.5]
    # Sample 0 is better at this price than the full network is: that earns nothing.
    assert record.losses("max_drop")[1].tolist() == [0, 0.25, 0, 0.25]


@pytest.mark.parametrize("name", ["agreement", "quality"])
def test_shares_are_needed_and_are_shares(name: str) -> None:
    arrays = shares()
    with pytest.raises(PackageError, match=rf"{name}: values must be in 0\.\.1"):
        read(arrays | {name: arrays[name] * 2}, FILE, CHAIN, counted=False)
    with pytest.raises(PackageError, match=rf"{name}: shape"):
        read(arrays | {name: arrays[name][:2]}, FILE, CHAIN, counted=False)
    del arrays[name]
    with pytest.raises(PackageError, match=rf"{name}: array is missing"):
        read(arrays, FILE, CHAIN, counted=False)
