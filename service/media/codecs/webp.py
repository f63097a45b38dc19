"""WebP, by Pillow. The size comes from the container here, because Pillow makes two canvases on opening."""

from __future__ import annotations

from io import BytesIO

from PIL import Image
from PIL.WebPImagePlugin import WebPImageFile

from service.errors import Malformed
from service.media.codecs.base import Cursor, Header, same_size
from service.media.exif import UPRIGHT, orientation
from service.media.pixels import opaque

_RIFF_LENGTH = 12


def header(data: bytes) -> Header:
    """See Codec."""
    name, body = _chunk(cursor := Cursor(data, at=_RIFF_LENGTH))
    if name != b"VP8X":
        return _simple(name, body)
    width, height = 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    turned, frames, end = UPRIGHT, 0, _end(data)
    while cursor.at + 8 <= end:
        name, body = _chunk(cursor)
        frames += name == b"ANMF"
        if name == b"EXIF":
            turned = orientation(body)
    return Header(width, height, turned, max(1, frames))


def decode(data: bytes, header: Header, shrink: int) -> Image.Image:
    """See Codec."""
    picture = WebPImageFile(BytesIO(data))
    same_size(picture, header)
    return opaque(picture)


def _simple(name: bytes, body: bytes) -> Header:
    """A file that is one picture and nothing else."""
    if name == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    elif name == b"VP8L" and body[:1] == b"\x2f" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        raise Malformed("no picture where the first chunk has to be one")
    return Header(width, height)


def _chunk(cursor: Cursor) -> tuple[bytes, bytes]:
    name = cursor.take(4)
    length = int.from_bytes(cursor.take(4), "little")
    body = cursor.take(length)
    cursor.at += length & 1  # padding, which writers forget at the end of the file
    return name, body


def _end(data: bytes) -> int:
    return min(len(data), 8 + int.from_bytes(data[4:8], "little"))
