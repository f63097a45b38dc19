"""Maps of classes as clients take them: runs of equal pixels for JSON, or a PNG in colours that tell them apart."""

from __future__ import annotations

import colorsys
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_GOLDEN = 0.61803398875
"""Steps of the golden ratio around the circle of colours: no two of the first dozens come close."""


def runs(classes: NDArray[np.uint8]) -> list[int]:
    """Class, length, class, length, ..: row by row from the top left."""
    flat = classes.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(np.append(starts, len(flat)))
    paired: list[int] = np.stack([flat[starts].astype(np.int64), lengths], axis=1).ravel().tolist()
    return paired


def unrolled(told: list[int], height: int, width: int) -> NDArray[np.uint8]:
    """The map of such runs, uint8 [height, width].

    Raises:
        ValueError: they aren't those of a map of that size.
    """
    pairs = np.array(told, np.int64).reshape(-1, 2)
    return np.repeat(pairs[:, 0], pairs[:, 1]).astype(np.uint8).reshape(height, width)


def png(classes: NDArray[np.uint8]) -> bytes:
    """A PNG with a palette: a pixel's value is its class, its colour is for eyes."""
    height, width = classes.shape
    made = Image.frombytes("P", (width, height), np.ascontiguousarray(classes).tobytes())
    made.putpalette(_palette())
    held = BytesIO()
    made.save(held, "PNG", optimize=False)
    return held.getvalue()


def _palette() -> bytes:
    colours = [
        colorsys.hsv_to_rgb(place * _GOLDEN % 1, 0.55 + 0.35 * (place % 2), 0.95 - 0.3 * (place % 3 == 2))
        for place in range(256)
    ]
    return bytes(round(255 * part) for colour in colours for part in colour)
