"""PNG, by Pillow, from critical chunks only.

Of an animated PNG the still picture is taken, the one that every reader of PNG shows.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from service.errors import Malformed
from service.media.codecs.base import Cursor, Header, same_size
from service.media.exif import UPRIGHT, orientation
from service.media.pixels import eight_bits, opaque

_MAGIC_LENGTH = 8
# All that pixels depend on. The rest never reaches Pillow, which would inflate every iCCP, zTXt and iTXt (20 MiB of
# profiles, each growing to 1 MiB, are minutes of work), and which doesn't look at the checksums of image data at all.
_CRITICAL = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}


def header(data: bytes) -> Header:
    """See Codec."""
    width, height, _ = _dimensions(data)
    turned, frames = UPRIGHT, 1
    for name, start, end in _chunks(data):
        if name == b"eXIf":
            turned = orientation(data[start + 8 : end - 4])
        elif name == b"acTL":
            (frames,) = struct.unpack_from(">I", data, start + 8)
    return Header(width, height, turned, max(1, frames))


def decode(data: bytes, header: Header, shrink: int) -> Image.Image:
    """See Codec."""
    picture = PngImageFile(BytesIO(_critical(data)))
    same_size(picture, header)
    _, _, depth = _dimensions(data)
    return opaque(_keyed(picture, depth))


def _dimensions(data: bytes) -> tuple[int, int, int]:
    """Width and height in pixels, bits per sample."""
    width, height, depth = struct.unpack_from(">IIB", data, _MAGIC_LENGTH + 8)
    if data[_MAGIC_LENGTH + 4 : _MAGIC_LENGTH + 8] != b"IHDR":
        raise Malformed("the first chunk isn't IHDR")
    return width, height, depth


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of each chunk, from its length to its checksum, up to IEND, which must be there."""
    cursor, name = Cursor(data, at=_MAGIC_LENGTH), b""
    while name != b"IEND":
        start = cursor.at
        length, name = struct.unpack(">I4s", cursor.take(8))
        cursor.skip(length + 4)
        yield name, start, cursor.at


def _critical(data: bytes) -> bytes:
    """`data` with nothing but critical chunks, their checksums verified."""
    parts = [data[:_MAGIC_LENGTH]]
    for name, start, end in _chunks(data):
        if name in _CRITICAL:
            chunk = data[start:end]
            if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
                raise Malformed(f"the checksum of a chunk {name.decode()} is wrong")
            parts.append(chunk)
    return b"".join(parts)


def _keyed(picture: PngImageFile, depth: int) -> Image.Image:
    """`picture` with its transparent key colour, which the file gives at its own depth, brought to 8 bits.

    Pillow compares that colour with 8-bit samples as if it were one. At 16 bits of greyscale the comparison is made
    here, exactly; at 16 bits of RGB on the high bytes, the only ones that Pillow keeps.
    """
    key = picture.info.get("transparency")
    if picture.mode.startswith("I") and isinstance(key, int):
        alpha = np.where(np.asarray(picture) == key, 0, 255).astype(np.uint8)
        return Image.merge("LA", (eight_bits(picture), Image.fromarray(alpha)))
    if picture.mode == "RGB" and depth == 16 and isinstance(key, tuple):
        picture.info["transparency"] = tuple(sample >> 8 for sample in key)
    elif picture.mode == "L" and isinstance(key, int):
        picture.info["transparency"] = key * 255 // (2**depth - 1)
    return picture
