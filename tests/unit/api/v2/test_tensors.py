"""Tensors survive the wire, and what isn't one is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from service.api.v2.tensors import BYTES, DTYPES, from_raw, from_values
from service.errors import Malformed, OfframpError

SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@given(st.data(), st.sampled_from(sorted(DTYPES)), SHAPES)
def test_numbers_survive_raw_bytes(data: st.DataObject, datatype: str, shape: tuple[int, ...]) -> None:
    values = data.draw(arrays_of.arrays(np.dtype(DTYPES[datatype]), shape))
    tensor = from_raw("x", datatype, shape, values.tobytes())
    assert tensor.raw() == values.tobytes()
    assert tensor.shape == shape


@given(st.data(), st.sampled_from(sorted(set(DTYPES) - {"FP16", "FP32"})), SHAPES)
def test_numbers_survive_json(data: st.DataObject, datatype: str, shape: tuple[int, ...]) -> None:
    values = data.draw(
        arrays_of.arrays(np.dtype(DTYPES[datatype]), shape, elements={"allow_nan": False} if "FP" in datatype else None)
    )
    tensor = from_values("x", datatype, shape, values.ravel().tolist())
    assert np.array_equal(np.asarray(tensor.values), values)
    assert tensor.data() == values.ravel().tolist()


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_elements_survive_raw_bytes(elements: list[bytes]) -> None:
    tensor = from_raw("x", BYTES, [len(elements)], from_raw_of(elements))
    assert tensor.elements == elements
    assert tensor.raw() == from_raw_of(elements)


def from_raw_of(elements: list[bytes]) -> bytes:
    return b"".join(len(element).to_bytes(4, "little") + element for element in elements)


def test_nested_data_is_flat_data() -> None:
    nested = from_values("x", "INT32", [2, 2], [[1, 2], [3, 4]])
    assert nested.data() == [1, 2, 3, 4]


@given(st.sampled_from([*DTYPES, BYTES, "FP31"]), st.lists(st.integers(-1, 5), max_size=10), st.binary(max_size=64))
def test_any_bytes_are_a_tensor_or_refused(datatype: str, shape: list[int], raw: bytes) -> None:
    try:
        tensor = from_raw("x", datatype, shape, raw)
    except OfframpError:
        return
    assert tensor.raw() == raw


@pytest.mark.parametrize(
    ("raw", "count"),
    [(b"\x01", 1), (b"\x05\x00\x00\x00abc", 1), (b"\x00\x00\x00\x00", 2), (b"\x00\x00\x00\x00" * 2, 1), (b"", 1)],
)
def test_elements_that_do_not_add_up_are_refused(raw: bytes, count: int) -> None:
    with pytest.raises(Malformed, match="elements"):
        from_raw("x", BYTES, [count], raw)


def test_numbers_are_no_elements() -> None:
    with pytest.raises(Malformed, match="not BYTES"):
        _ = from_values("x", "INT8", [1], [1]).elements
