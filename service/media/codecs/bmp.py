"""BMP, by Pillow, which takes no memory on opening one."""

from __future__ import annotations

from io import BytesIO

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile

from service.errors import UnsupportedMedia
from service.media.codecs.base import Header, same_size
from service.media.pixels import opaque

_PLAIN, _BITFIELDS = 0, 3


def header(data: bytes) -> Header:
    """See Codec."""
    picture = _open(data)
    return Header(picture.width, picture.height)


def decode(data: bytes, header: Header, shrink: int) -> Image.Image:
    """See Codec."""
    picture = _open(data)
    same_size(picture, header)
    return opaque(picture)


def _open(data: bytes) -> BmpImageFile:
    picture = BmpImageFile(BytesIO(data))
    # Pillow decodes run lengths in Python, pixel by pixel: a file of 30 kB would hold the interpreter for seconds.
    if picture.info["compression"] not in (_PLAIN, _BITFIELDS):
        raise UnsupportedMedia("a compressed BMP isn't read here; send it uncompressed, or as PNG")
    return picture
