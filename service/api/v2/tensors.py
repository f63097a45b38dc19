"""Tensors of the protocol: JSON or raw bytes in, one noun inside, JSON or raw bytes out.

Raw bytes are little endian, row by row; an element of BYTES is its length as four bytes and then itself.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import Malformed

BYTES = "BYTES"
DTYPES: Mapping[str, str] = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""numpy's names for the protocol's types, BYTES apart."""
_LENGTH = struct.Struct("<I")
_MOST_AXES = 8


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named tensor: `values` is an array of `shape`, or for BYTES its elements in order."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: NDArray[Any] | list[bytes]

    @property
    def elements(self) -> list[bytes]:
        """The elements of a BYTES tensor.

        Raises:
            Malformed: it is of another type.
        """
        if not isinstance(self.values, list):
            raise Malformed(f"tensor {self.name!r} is {self.datatype}, not BYTES")
        return self.values

    def raw(self) -> bytes:
        """As raw bytes."""
        if isinstance(self.values, list):
            return b"".join(_LENGTH.pack(len(element)) + element for element in self.values)
        return self.values.astype(DTYPES[self.datatype], copy=False).tobytes()

    def data(self) -> list[Any]:
        """As the flat `data` of JSON; BYTES have to be UTF-8 there, what isn't is replaced."""
        if isinstance(self.values, list):
            return [element.decode("utf-8", "replace") for element in self.values]
        flat: list[Any] = self.values.ravel().tolist()
        return flat


def from_raw(name: str, datatype: str, shape: Sequence[int], raw: bytes | memoryview) -> Tensor:
    """A tensor of raw bytes.

    Raises:
        Malformed: an unknown type, a shape that isn't one, or not as many bytes as they say.
    """
    size = _size(name, shape)
    if datatype == BYTES:
        return Tensor(name, datatype, tuple(shape), _elements(name, raw, size))
    dtype = _dtype(name, datatype)
    if len(raw) != size * dtype.itemsize:
        raise Malformed(f"tensor {name!r} has {len(raw)} bytes; {datatype} {list(shape)} takes {size * dtype.itemsize}")
    return Tensor(name, datatype, tuple(shape), np.frombuffer(raw, dtype).reshape(shape))


def from_values(name: str, datatype: str, shape: Sequence[int], data: Any) -> Tensor:
    """A tensor of JSON's `data`, nested or flat.

    Raises:
        Malformed: an unknown type, values of another type, or not as many as the shape says.
    """
    size, flat = _size(name, shape), _flat(data)
    if len(flat) != size:
        raise Malformed(f"tensor {name!r} has {len(flat)} values; shape {list(shape)} takes {size}")
    if datatype == BYTES:
        if not all(isinstance(value, str) for value in flat):
            raise Malformed(f"tensor {name!r}: elements of BYTES are strings in JSON")
        return Tensor(name, datatype, tuple(shape), [value.encode("utf-8", "surrogatepass") for value in flat])
    dtype = _dtype(name, datatype)
    wanted = bool if datatype == "BOOL" else int if dtype.kind in "iu" else (int, float)
    if not all(isinstance(value, wanted) and isinstance(value, bool) == (wanted is bool) for value in flat):
        raise Malformed(f"tensor {name!r} has values that are no {datatype}")
    try:
        return Tensor(name, datatype, tuple(shape), np.array(flat, dtype).reshape(shape))
    except OverflowError as error:
        raise Malformed(f"tensor {name!r} has values that {datatype} can't hold") from error


def _size(name: str, shape: Sequence[int]) -> int:
    whole = all(type(side) is int and side >= 0 for side in shape)
    if not whole or len(shape) > _MOST_AXES:
        raise Malformed(f"tensor {name!r}: a shape is a list of up to {_MOST_AXES} whole numbers, none below 0")
    return prod(shape)


def _dtype(name: str, datatype: str) -> np.dtype[Any]:
    if datatype not in DTYPES:
        raise Malformed(f"tensor {name!r}: datatype {datatype[:20]!r} is none of {[*DTYPES, BYTES]}")
    return np.dtype(DTYPES[datatype])


def _elements(name: str, raw: bytes | memoryview, size: int) -> list[bytes]:
    elements: list[bytes] = []
    at = 0
    while at < len(raw) and len(elements) < size:
        if at + _LENGTH.size > len(raw):
            break
        (length,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        elements.append(bytes(raw[at : at + length]))
        at += length
    if at != len(raw) or len(elements) != size:
        raise Malformed(f"tensor {name!r} isn't {size} elements, each with its length as four bytes before it")
    return elements


def _flat(data: Any) -> list[Any]:
    """Values of nested lists in order, without recursion: nesting is the client's to choose."""
    if not isinstance(data, list):
        raise Malformed("a tensor's data is a list")
    flat: list[Any] = data
    while flat and isinstance(flat[0], list):
        if not all(isinstance(row, list) for row in flat):
            raise Malformed("a tensor's data is nested unevenly")
        flat = [value for row in flat for value in row]
    return flat
