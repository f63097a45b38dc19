"""From what decoders give to what models were trained on: opaque 8-bit RGB of an exact size.

Colours are taken as the numbers that they are: ICC profiles are ignored, because the training sets ignored them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

RGB = npt.NDArray[np.uint8]
"""uint8 [height, width, 3], red, green, blue."""

GAP = 3.0
"""How many times larger than asked a picture stays after a rough scaling (by the decoder, or by plain averages).

With three, fine noise differs from exact scaling by less than 2 of 255 levels (root mean square); with two, by 5.
"""

Box = tuple[float, float, float, float]
"""Top, left, bottom, right; in pixels unless told otherwise."""

LEAST = 1e-3
"""Share of a side that a box has at least."""

_WHITE = (255, 255, 255)  # the paper that browsers and viewers show transparent pictures on


def opaque(picture: Image.Image) -> Image.Image:
    """`picture` of any mode as mode RGB: greyscale spread, palettes resolved, 16 bits cut to 8, alpha over white."""
    if picture.mode.startswith("I"):
        picture = eight_bits(picture)
    if not picture.has_transparency_data:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    layered = picture if picture.mode == "RGBA" else picture.convert("RGBA")
    paper = Image.new("RGB", layered.size, _WHITE)
    paper.paste(layered, mask=layered)
    return paper


def eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit greyscale (modes I;16 and I) as mode L, losing its key colour if it has one.

    The high byte is kept, which undoes both usual ways of widening (times 257, times 256) to the bit. Pillow's own
    `convert` clips instead: everything above 255 of 65535 would be white.
    """
    wide = np.asarray(picture).clip(0, 65535)
    return Image.fromarray((wide >> 8).astype(np.uint8))


def fit(picture: Image.Image | RGB, height: int, width: int) -> RGB:
    """`picture` scaled to cover `height` x `width` pixels, its centre cut out: uint8 [height, width, 3].

    A picture that has the size already keeps every bit. Otherwise one bicubic pass with antialiasing does both, over a
    source box of the asked shape placed to fractions of a pixel, so that mirroring and cutting commute. Bicubic is what
    most networks saw in training; Lanczos takes 1.5 times as long and rings; a box filter blurs at small ratios.
    """
    if isinstance(picture, np.ndarray):
        if picture.shape[:2] == (height, width):
            return picture
        picture = Image.fromarray(picture)
    if picture.size == (width, height):
        return np.array(picture)
    box = _edges(cover(picture.width, picture.height, width / height))
    return np.array(picture.resize((width, height), Image.Resampling.BICUBIC, box=box, reducing_gap=GAP))


def cut(picture: Image.Image | RGB, box: Box, height: int, width: int) -> RGB:
    """`box` (in pixels, fractions allowed) of `picture` scaled to uint8 [height, width, 3], as `fit` scales.

    Unlike in a picture of its own, the pixels just outside of the box count at its edges.
    """
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    resample = Image.Resampling.BICUBIC
    return np.array(picture.resize((width, height), resample, box=_edges(box), reducing_gap=GAP))


def cover(width: int, height: int, aspect: float) -> Box:
    """The largest box, in pixels, of this aspect (width / height) at the centre of a picture of that size."""
    inner_width, inner_height = min(width, height * aspect), min(height, width / aspect)
    left, top = (width - inner_width) / 2, (height - inner_height) / 2
    return top, left, height - top, width - left


def within(outer: Box, share: Sequence[float]) -> Box:
    """The box that `share` (top, left, bottom, right in 0..1) names inside of `outer`, in the units of `outer`.

    Shares outside of 0..1 are cut off, and a box keeps at least a thousandth of each side: a stage can ask for
    anything, but only for what is there.
    """
    top, left, bottom, right = outer
    first, last = _span(share[0], share[2])
    start, end = _span(share[1], share[3])
    tall, wide = bottom - top, right - left
    return top + first * tall, left + start * wide, top + last * tall, left + end * wide


def _span(start: float, end: float) -> tuple[float, float]:
    start = min(max(start, 0.0), 1 - LEAST)
    return start, max(min(end, 1.0), start + LEAST)


def _edges(box: Box) -> tuple[float, float, float, float]:
    """Pillow's order: left, top, right, bottom."""
    top, left, bottom, right = box
    return left, top, right, bottom


def solid(pixels: npt.NDArray[Any]) -> RGB:
    """`pixels` in C order, as stages want them."""
    return np.ascontiguousarray(pixels, dtype=np.uint8)
