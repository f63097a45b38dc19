"""JPEG, by libjpeg-turbo through simplejpeg; Pillow for the few that it refuses without need.

CMYK and YCCK follow Adobe's inverted convention, as in browsers and in Pillow, whether or not an Adobe marker says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from typing import cast

import simplejpeg
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from service.errors import Malformed, TooLarge, UnsupportedMedia
from service.media.codecs.base import Cursor, Header, same_size
from service.media.exif import UPRIGHT, orientation
from service.media.pixels import RGB, opaque

MAX_SCANS = 100
"""Scans of one progressive file. Encoders write about ten; each may be a few bytes that cost a pass over all pixels."""

_MARKER = re.compile(rb"\xff([^\xff\x00\xd0-\xd7])")  # stuffed zeros, fill bytes and restarts are no segments
_SOI, _EOI, _SOS, _APP0, _APP1, _APP14, _APP15 = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE, 0xEF
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_DCT_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # baseline, extended, progressive, and the last two with arithmetic coding
_PROGRESSIVE = {0xC2, 0xCA}

# What simplejpeg (strict) refuses although all pixels are there: unusual subsampling, and warnings on mere headers.
_HARMLESS = re.compile(
    r"Could not determine subsampling|Invalid SOS parameters|unknown JFIF revision|Unknown Adobe color transform"
    r"|bad ICC marker|extraneous bytes before marker 0xd9"
)


def header(data: bytes) -> Header:
    """See Codec. Refuses the kinds of JPEG that no decoder here reads, and scan bombs."""
    turned, frame, scans = UPRIGHT, None, 0
    for marker, start, end in _segments(data):
        if marker == _APP1 and turned == UPRIGHT and data.startswith(b"Exif\0\0", start + 4):
            turned = orientation(data[start + 4 : end])
        elif marker in _FRAMES and frame is None:
            frame = marker
            _check_frame(marker, precision=data[start + 4])
        elif marker == _SOS:
            scans += 1
            if frame not in _PROGRESSIVE:
                break
            if scans > MAX_SCANS:
                raise TooLarge(f"a progressive JPEG of more than {MAX_SCANS} scans")
    if not scans:
        raise Malformed("no scan: the file ends within its headers")
    height, width = _size(data)
    return Header(width, height, turned)


def decode(data: bytes, header: Header, shrink: int) -> RGB | Image.Image:
    """See Codec. Scaled decoding leaves out the high frequencies, which an eighth of the size couldn't show anyway."""
    height, width = -(-header.height // shrink), -(-header.width // shrink)
    try:
        # The plain DCT and the smooth chroma upsampling: the settings that the training sets were decoded with.
        pixels = simplejpeg.decode_jpeg(
            data, "RGB", fastdct=False, fastupsample=False, min_height=height, min_width=width, strict=True
        )
        return cast(RGB, pixels)
    except (ValueError, KeyError) as error:
        if not _is_harmless(error):
            raise
    picture = JpegImageFile(BytesIO(_bare(data)))
    same_size(picture, header)
    picture.draft("RGB", (width, height))
    return opaque(picture)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment, `start` at its 0xFF; goes on over the scans up to the end of the image."""
    cursor = Cursor(data, at=2)
    while match := _MARKER.search(data, cursor.at):
        marker, cursor.at = match[1][0], match.end()
        if marker == _EOI:
            return
        if marker not in (_SOI, 0x01):
            cursor.skip(int.from_bytes(cursor.take(2), "big") - 2)
            yield marker, match.start(), cursor.at


def _check_frame(marker: int, *, precision: int) -> None:
    if marker not in _DCT_FRAMES or precision != 8:
        kind = f"{precision}-bit" if precision != 8 else "lossless or hierarchical"
        raise UnsupportedMedia(f"a {kind} JPEG isn't read here; send baseline or progressive JPEG, or PNG")


def _size(data: bytes) -> tuple[int, int]:
    """Height and width by the decoder's own reading, so that the limits hold for what it will really allocate."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError) as error:
        if not _is_harmless(error):
            raise
        width, height = JpegImageFile(BytesIO(_bare(data))).size
    return int(height), int(width)


def _is_harmless(error: Exception) -> bool:
    """Whether simplejpeg refused pixels that are all there; its KeyError is a subsampling that it has no name for."""
    return isinstance(error, KeyError) or _HARMLESS.search(str(error)) is not None


def _bare(data: bytes) -> bytes:
    """`data` without the metadata in which Pillow would look for a resolution, and warn of what it finds."""
    kept, at = [], 0
    for marker, start, end in _segments(data):
        if _APP0 < marker <= _APP15 and marker != _APP14:
            kept.append(data[at:start])
            at = end
        elif marker == _SOS:
            break
    return b"".join([*kept, data[at:]])
