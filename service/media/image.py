"""Images as models want them: opened by their header, held to limits, decoded when and as far as a stage asks.

A source is bytes and a header; it keeps no pixels. Each glimpse decodes anew, at the scale that it needs, so many
threads may take glimpses of one source, and memory is bounded by the glimpses being made, not by the requests waiting.
Both `open` (microseconds; up to 0.2 s for a hostile file) and `glimpse` belong on a decode thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import Malformed, TooLarge
from service.media.base import MediaType, identify
from service.media.boxes import overlay, small, told
from service.media.codecs import bmp, gif, jpeg, png, webp
from service.media.codecs.base import Codec, Header, decoding
from service.media.exif import stored, swaps, upright
from service.media.pixels import GAP, RGB, Box, cover, cut, fit, solid, within
from service.package.glimpses import Glimpse

# TIFF, AVIF and HEIC are known and refused by name: their decoders are large, and nobody has asked yet.
_CODECS: dict[MediaType, Codec] = {
    MediaType.JPEG: jpeg,
    MediaType.PNG: png,
    MediaType.WEBP: webp,
    MediaType.GIF: gif,
    MediaType.BMP: bmp,
}
READABLE = tuple(_CODECS)
"""The kinds of image that are read here."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an image may be. All are checked on the header, before memory is taken for pixels.

    The peak memory of a glimpse, in bytes per pixel: JPEG 7, but 3 progressive and 0.1 baseline when much larger than
    asked; PNG and GIF 4 to 9; WebP 16, with alpha 20.
    """

    max_bytes: int = 20 * 2**20
    """Bytes of the encoded image."""
    max_pixels: int = 50_000_000
    """Pixels of one frame, width times height."""
    max_side: int = 65_535
    """Pixels along either side; decoders spend memory on rows, too, so a picture of one column is no cheap one."""
    max_frames: int = 1_000
    """Frames of an animation. Only the first is ever decoded; the others cost a step over each, no more."""


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An encoded image within its limits. Nothing is decoded until a glimpse is asked for."""

    data: bytes
    kind: MediaType
    header: Header

    @classmethod
    def open(cls, data: bytes, *, content_type: str | None = None, limits: ImageLimits | None = None) -> ImageSource:
        """Read the header of `data`, declared as `content_type` (a header's value, or None).

        Raises UnsupportedMedia (not an image that is read here, or not what it says), Malformed (broken so that the
        header shows it) or TooLarge (above `limits`; the defaults of ImageLimits if None).
        """
        limits = limits or ImageLimits()
        _check("bytes", len(data), limits.max_bytes)
        kind = identify(data, content_type, readable=READABLE)
        with decoding(kind):
            header = _CODECS[kind].header(data)
            _check_header(header, limits)
        return cls(data, kind, header)

    @property
    def width(self) -> int:
        """Pixels from left to right, as seen upright."""
        return self.header.height if swaps(self.header.orientation) else self.header.width

    @property
    def height(self) -> int:
        """Pixels from top to bottom, as seen upright."""
        return self.header.width if swaps(self.header.orientation) else self.header.height

    @property
    def area(self) -> int:
        """Pixels of the stored picture."""
        return self.header.width * self.header.height

    @property
    def orientation(self) -> int:
        """EXIF orientation 1..8 of the stored pixels; glimpses are upright already."""
        return self.header.orientation

    @property
    def frames(self) -> int:
        """Frames that the container announces; glimpses show the first."""
        return self.header.frames

    def glimpse(self, height: int, width: int) -> RGB:
        """The whole picture upright, scaled to cover `height` x `width` pixels and cut at its centre.

        uint8 [height, width, 3], RGB, C order. A picture that has this size already is given bit by bit. Raises
        Malformed if the data turn out to be truncated or damaged.
        """
        stored_size = (width, height) if swaps(self.orientation) else (height, width)
        with decoding(self.kind):
            shrink = _shrink(self.header.height, self.header.width, *stored_size)
            decoded = _CODECS[self.kind].decode(self.data, self.header, shrink)
            return solid(upright(fit(decoded, *stored_size), self.orientation))

    def crops(self, height: int, width: int, at: NDArray[np.float32], aspect: float | None = None) -> RGB:
        """Boxes of the picture, upright, each scaled to `height` x `width`: uint8 [k, height, width, 3].

        `at` float32 [k, 4] are top, left, bottom, right as shares of the centre that `glimpse` of that aspect shows.
        The picture is decoded once, at the scale that the smallest box needs. libjpeg could decode a box alone, but
        none of its Python bindings can; so the whole is decoded, and the box alone is scaled.
        """
        turned = swaps(self.orientation)
        stored_size = (width, height) if turned else (height, width)
        header = self.header
        aspect = aspect or width / height
        outer = cover(header.width, header.height, 1 / aspect if turned else aspect)
        boxes = [within(outer, stored(tuple(box), self.orientation)) for box in at.tolist()]
        with decoding(self.kind):
            tall, wide = min(box[2] - box[0] for box in boxes), min(box[3] - box[1] for box in boxes)
            decoded = _CODECS[self.kind].decode(self.data, header, _shrink(tall, wide, *stored_size))
            views = [cut(decoded, _scaled(box, decoded, header), *stored_size) for box in boxes]
            return solid(np.stack([upright(view, self.orientation) for view in views]))

    def look(self, glimpse: Glimpse, at: NDArray[np.float32] | None) -> RGB:
        """See `Source.look`."""
        height, width, _ = glimpse.shape
        return self.glimpse(height, width)[None] if at is None else self.crops(height, width, at, glimpse.aspect)

    def tells(self, glimpse: Glimpse, at: NDArray[np.float32] | None) -> list[dict[str, Any]]:
        """See `Source.tells`: each look's box, and the size at which it was shown."""
        return told(self.height, self.width, glimpse, at)

    def picture(self, seen: Sequence[Mapping[str, Any]]) -> bytes | None:
        """See `Source.picture`: the boxes over a small copy."""
        return overlay(self.glimpse(*small(self.height, self.width)), self.height, self.width, seen)


def _shrink(have_height: float, have_width: float, height: int, width: int) -> int:
    """How much smaller a decoder may go (1, 2, 4 or 8), so that GAP is left for the scaling proper."""
    room = min(have_height / height, have_width / width) / GAP
    return max(step for step in (1, 2, 4, 8) if step == 1 or step <= room)


def _scaled(box: Box, decoded: RGB | Image.Image, header: Header) -> Box:
    """A box of the stored picture in pixels of what was decoded of it, which may be smaller."""
    width, height = decoded.size if isinstance(decoded, Image.Image) else (decoded.shape[1], decoded.shape[0])
    across, down = width / header.width, height / header.height
    top, left, bottom, right = box
    return top * down, left * across, min(bottom * down, height), min(right * across, width)


def _check(what: str, value: int, limit: int) -> None:
    if value > limit:
        raise TooLarge(f"the image has {value} {what}, the limit is {limit}", limit=limit, value=value)


def _check_header(header: Header, limits: ImageLimits) -> None:
    if header.width < 1 or header.height < 1:
        raise Malformed(f"its size is {header.width}x{header.height}")
    _check("pixels on a side", max(header.width, header.height), limits.max_side)
    _check("pixels", header.width * header.height, limits.max_pixels)
    _check("frames", header.frames, limits.max_frames)
