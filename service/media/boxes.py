"""Boxes drawn over a picture: which parts of it a walk has looked at, for `explain`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from service.media.pixels import RGB, Box, cover, within
from service.package.glimpses import Glimpse

SIDE = 384
"""The longer side of the drawing, in pixels: enough to see, small in a JSON answer."""
_TOLD_APART = 8
_BOX = 4
_MANY = "#ffd23f"
_DOTS = "#00ff9c"
_COLOURS = ("#00c2ff", "#ff4d4d", "#ffd23f", "#7cff6b", "#ff7bf3", "#ffffff")


def told(height: int, width: int, glimpse: Glimpse, at: NDArray[np.float32] | None) -> list[dict[str, Any]]:
    """What `explain` says of looks at a picture of `height` x `width`, one dict for each.

    `box` is top, left, bottom and right in pixels of the upright picture, `size` the height and width in pixels at
    which the stage was shown it. Looks of other than four coordinates are at points, each a pair of top and left.
    """
    rows, columns, _ = glimpse.shape
    outer = cover(width, height, glimpse.aspect)
    if at is not None and at.shape[1] != _BOX:
        return [{"points": _within(outer, look)} for look in at]
    boxes = [outer] if at is None else [within(outer, share) for share in at.tolist()]
    return [{"box": [round(edge) for edge in box], "size": [rows, columns]} for box in boxes]


def _within(outer: Box, look: NDArray[np.float32]) -> list[list[int]]:
    """Points [2 k] that are shares of a box, in whole pixels: k pairs of row and column."""
    top, left, bottom, right = outer
    pairs = look.reshape(-1, 2) * (bottom - top, right - left) + (top, left)
    whole: list[list[int]] = np.floor(pairs).astype(int).tolist()
    return whole


def small(height: int, width: int) -> tuple[int, int]:
    """The size of the drawing for a picture of that size, at least one pixel each way."""
    scale = SIDE / max(height, width)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def overlay(pixels: RGB, height: int, width: int, seen: Sequence[Mapping[str, Any]]) -> bytes:
    """PNG of `pixels`, a `small` copy of an upright picture of `height` x `width`, with the boxes of `seen` in order.

    Each look has its number and the size at which it was shown; looks at the same box share one frame. More boxes than
    can be told apart are drawn as thin frames. Looks at points are dots under the frames.
    """
    picture, scale = Image.fromarray(pixels), SIDE / max(height, width)
    pen = ImageDraw.Draw(picture)
    dots = [(column * scale, row * scale) for look in seen for row, column in look.get("points", ())]
    pen.point(dots, fill=_DOTS)
    labels: dict[tuple[int, ...], list[str]] = {}
    for place, look in enumerate(look for look in seen if "box" in look):
        shown = f"{place + 1}: {look['size'][1]} px" if "size" in look else str(place + 1)
        labels.setdefault(tuple(look["box"]), []).append(shown)
    many = len(labels) > _TOLD_APART
    for place, (box, names) in enumerate(labels.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        top, left, bottom, right = (edge * scale for edge in box)
        right, bottom = min(right, picture.width - 1), min(bottom, picture.height - 1)
        pen.rectangle(
            (left, top, max(right, left), max(bottom, top)),
            outline=_MANY if many and place else colour,
            width=1 if many else 3,
        )
        if many:
            continue
        at = (left + 5, top + 4 + 13 * (place % 4))
        pen.text(at, ", ".join(names), fill=colour, stroke_width=2, stroke_fill="black")
    file = BytesIO()
    picture.quantize(128).save(file, "PNG", optimize=True)
    return file.getvalue()
