"""GIF, by Pillow, from a file cut down to its first frame: later frames and comments are stepped over, not decoded."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import NamedTuple

from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from service.errors import Malformed
from service.media.codecs.base import Cursor, Header, same_size
from service.media.pixels import opaque

_SCREEN = struct.Struct("<6sHHBBB")
_EXTENSION, _IMAGE, _TRAILER, _GRAPHIC_CONTROL = b"!", b",", b";", 0xF9


class _Layout(NamedTuple):
    """Where the first frame lies, in byte offsets; `control` is its graphic control block, empty if it has none."""

    width: int
    height: int
    screen_end: int
    control: bytes
    frame_start: int
    frame_end: int
    frames: int


def header(data: bytes) -> Header:
    """See Codec."""
    layout = _layout(data)
    return Header(layout.width, layout.height, frames=layout.frames)


def decode(data: bytes, header: Header, shrink: int) -> Image.Image:
    """See Codec."""
    picture = GifImageFile(BytesIO(_first_frame(data)))
    same_size(picture, header)
    return opaque(picture)


def _layout(data: bytes) -> _Layout:
    cursor = Cursor(data)
    _, width, height, flags, _, _ = _SCREEN.unpack(cursor.take(_SCREEN.size))
    cursor.skip(_colours(flags))
    screen_end, control = cursor.at, b""
    while (tag := cursor.take(1)) == _EXTENSION:
        start = cursor.at - 1
        label = cursor.take(1)[0]
        _skip_blocks(cursor)
        if label == _GRAPHIC_CONTROL:
            control = data[start : cursor.at]
    if tag != _IMAGE:
        raise Malformed("no image in it")
    start = cursor.at - 1
    right, bottom = _skip_image(cursor)
    # A frame may reach over the screen; then the picture is as large as both.
    width, height, end = max(width, right), max(height, bottom), cursor.at
    return _Layout(width, height, screen_end, control, start, end, 1 + _later_frames(cursor))


def _first_frame(data: bytes) -> bytes:
    layout = _layout(data)
    screen = data[:6] + struct.pack("<HH", layout.width, layout.height) + data[10 : layout.screen_end]
    return screen + layout.control + data[layout.frame_start : layout.frame_end] + _TRAILER


def _later_frames(cursor: Cursor) -> int:
    """Frames after the first. Damage there ends the count and is no fault: nothing of them is ever shown."""
    frames = 0
    try:
        while (tag := cursor.take(1)) in (_EXTENSION, _IMAGE):
            if tag == _IMAGE:
                _skip_image(cursor)
                frames += 1
            else:
                cursor.skip(1)
                _skip_blocks(cursor)
    except Malformed:
        pass
    return frames


def _skip_image(cursor: Cursor) -> tuple[int, int]:
    """Over an image behind its tag; returns its right and bottom edge in pixels of the screen."""
    left, top, width, height, flags = struct.unpack("<HHHHB", cursor.take(9))
    cursor.skip(_colours(flags) + 1)  # and the width of the first code
    _skip_blocks(cursor)
    return left + width, top + height


def _skip_blocks(cursor: Cursor) -> None:
    while size := cursor.take(1)[0]:
        cursor.skip(size)


def _colours(flags: int) -> int:
    """Bytes of the colour table that these flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
