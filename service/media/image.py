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

from service.errors import Malformed, TooLarge
from service.media.base import MediaType, identify
from service.media.codecs import bmp, gif, jpeg, png, webp
from service.media.codecs.base import Codec, Header, decoding
from service.media.exif import swaps, upright
from service.media.pixels import GAP, RGB, fit, solid
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
        stored = (width, height) if swaps(self.orientation) else (height, width)
        with decoding(self.kind):
            decoded = _CODECS[self.kind].decode(self.data, self.header, _shrink(self.header, *stored))
            return solid(upright(fit(decoded, *stored), self.orientation))

    def look(self, glimpse: Glimpse, at: NDArray[np.float32] | None) -> RGB:
        """See `Source.look`."""
        height, width, _ = glimpse.shape
        return self.glimpse(height, width)[None]

    def tells(self, glimpse: Glimpse, at: NDArray[np.float32] | None) -> list[dict[str, Any]]:
        """See `Source.tells`."""
        return [{"glimpse": glimpse.glimpse}]

    def picture(self, seen: Sequence[Mapping[str, Any]]) -> bytes | None:
        """See `Source.picture`."""
        return None


def _shrink(header: Header, height: int, width: int) -> int:
    """How much smaller a decoder may go (1, 2, 4 or 8), so that GAP is left for the scaling proper."""
    room = min(header.height / height, header.width / width) / GAP
    return max(step for step in (1, 2, 4, 8) if step == 1 or step <= room)


def _check(what: str, value: int, limit: int) -> None:
    if value > limit:
        raise TooLarge(f"the image has {value} {what}, the limit is {limit}", limit=limit, value=value)


def _check_header(header: Header, limits: ImageLimits) -> None:
    if header.width < 1 or header.height < 1:
        raise Malformed(f"its size is {header.width}x{header.height}")
    _check("pixels on a side", max(header.width, header.height), limits.max_side)
    _check("pixels", header.width * header.height, limits.max_pixels)
    _check("frames", header.frames, limits.max_frames)
