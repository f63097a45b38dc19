"""What was seen of a video, as one picture for people: frames side by side, each above its time."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw

from service.media.pixels import RGB

HEIGHT = 96
"""Pixels of a frame in the strip."""
MAX_FRAMES = 64
_A_ROW = 8
_GAP, _LINE = 2, 12
_PAPER, _INK = (255, 255, 255), (0, 0, 0)


def size(height: int, width: int) -> tuple[int, int]:
    """Height and width of a frame in the strip, for one of that size; very long ones are cut at their centre."""
    return HEIGHT, min(max(round(HEIGHT * width / height), HEIGHT // 4), HEIGHT * 4)


def strip(frames: Sequence[tuple[float, RGB]]) -> bytes:
    """A PNG of frames uint8 [HEIGHT, width, 3] with their times in seconds, in their order, eight to a row."""
    height, width, _ = frames[0][1].shape
    columns, rows = min(len(frames), _A_ROW), -(-len(frames) // _A_ROW)
    cell = width + _GAP, height + _LINE + _GAP
    paper = Image.new("RGB", (columns * cell[0] - _GAP, rows * cell[1] - _GAP), _PAPER)
    pen = ImageDraw.Draw(paper)
    for place, (time_s, pixels) in enumerate(frames):
        left, top = place % _A_ROW * cell[0], place // _A_ROW * cell[1]
        paper.paste(Image.fromarray(pixels), (left, top))
        pen.text((left + 1, top + height), f"{time_s:.2f} s", fill=_INK)
    out = io.BytesIO()
    paper.save(out, "PNG")
    return out.getvalue()
