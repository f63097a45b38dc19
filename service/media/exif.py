"""The one EXIF tag that changes what a picture shows: its orientation."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from service.media.pixels import Box

UPRIGHT = 1
_ORIENTATION_TAG = 0x0112
_SHORT, _LONG = 3, 4


def orientation(exif: bytes) -> int:
    """Orientation 1..8 out of an EXIF block (a TIFF header and its first directory, with or without `Exif\\0\\0`).

    1 if there is none, or none that makes sense: broken metadata never costs anybody a picture.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return UPRIGHT
    try:
        return _find(tiff, order)
    except struct.error:  # an offset or a count that leaves the block
        return UPRIGHT


def _find(tiff: bytes, order: str) -> int:
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, form = struct.unpack_from(order + "HH", tiff, entry)
        if tag == _ORIENTATION_TAG and form in (_SHORT, _LONG):
            (value,) = struct.unpack_from(order + ("H" if form == _SHORT else "I"), tiff, entry + 8)
            return int(value) if 1 <= value <= 8 else UPRIGHT
    return UPRIGHT


def swaps(orientation: int) -> bool:
    """Whether height and width change places when a picture of this orientation is put upright."""
    return orientation >= 5


def upright(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """View of `pixels` [h, w, ...] as stored, turned and mirrored to how they are meant to be seen."""
    if swaps(orientation):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def stored(box: Box, orientation: int) -> Box:
    """Where `box` (shares 0..1) of the upright picture lies in the picture as stored: undoes what `upright` does."""
    top, left, bottom, right = box
    if orientation in (3, 4, 7, 8):
        top, bottom = 1 - bottom, 1 - top
    if orientation in (2, 3, 6, 7):
        left, right = 1 - right, 1 - left
    return (left, top, right, bottom) if swaps(orientation) else (top, left, bottom, right)
