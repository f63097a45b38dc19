"""A decoded frame as a stage sees it: upright, of an exact size, in RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from service.media.exif import UPRIGHT, swaps, upright
from service.media.pixels import RGB, fit, solid

_OVERSIZE = 4.0
"""How many times more pixels than asked a scaled frame may have before it is cut."""


def scaled(frame: VideoFrame, height: int, width: int, aspect: float = 1.0) -> RGB:
    """A frame upright, scaled to cover `height` x `width` pixels and cut at its centre: uint8 [height, width, 3], RGB.

    Colours and size are converted in one pass, bicubic with antialiasing. `aspect` is a stored pixel's width over its
    height.
    """
    orientation = orientation_of(frame)
    rows, columns = (width, height) if swaps(orientation) else (height, width)
    scale = max(rows / frame.height, columns / (frame.width * aspect))
    covering = max(rows, round(frame.height * scale)), max(columns, round(frame.width * aspect * scale))
    if covering[0] * covering[1] > _OVERSIZE * rows * columns:  # a strip: what would be cut away is most of it
        cut = fit(_pixels(frame, frame.height, frame.width), rows, columns)
    else:
        top, left = (covering[0] - rows) // 2, (covering[1] - columns) // 2
        cut = _pixels(frame, *covering)[top : top + rows, left : left + columns]
    return solid(upright(cut, orientation))


def _pixels(frame: VideoFrame, height: int, width: int) -> NDArray[Any]:
    shown = frame.reformat(width=width, height=height, format="rgb24", interpolation=Interpolation.BICUBIC)
    return shown.to_ndarray()


def orientation_of(frame: VideoFrame) -> int:
    """How the display matrix of a frame turns it, as an EXIF orientation 1..8; other angles count as the nearest."""
    sides: Any = frame.side_data
    if Type.DISPLAYMATRIX not in sides:
        return UPRIGHT
    a, b, _, c, d = np.frombuffer(bytes(sides[Type.DISPLAYMATRIX]), np.int32, 5).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return {(False, False): UPRIGHT, (True, False): 2, (True, True): 3, (False, True): 4}[a < 0, d < 0]
    return {(False, False): 5, (False, True): 6, (True, True): 7, (True, False): 8}[b < 0, c < 0]
