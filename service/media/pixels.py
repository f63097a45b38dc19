"""From what decoders give to what models were trained on: opaque 8-bit RGB of an exact size.

Colours are taken as the numbers that they are: ICC profiles are ignored, because the training sets ignored them too.
"""

from __future__ import annotations

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
    box = _cover(picture.width, picture.height, width / height)
    return np.array(picture.resize((width, height), Image.Resampling.BICUBIC, box=box, reducing_gap=GAP))


def _cover(width: int, height: int, aspect: float) -> tuple[float, float, float, float]:
    """The largest box (left, top, right, bottom, in pixels) of this aspect (width / height) at the picture's centre."""
    inner_width, inner_height = min(width, height * aspect), min(height, width / aspect)
    left, top = (width - inner_width) / 2, (height - inner_height) / 2
    return left, top, width - left, height - top


def solid(pixels: npt.NDArray[Any]) -> RGB:
    """`pixels` in C order, as stages want them."""
    return np.ascontiguousarray(pixels, dtype=np.uint8)
