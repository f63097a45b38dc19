"""What a format has to offer, and the means to read hostile bytes: a bounded cursor, and one name for every fault."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from service.errors import Malformed, OfframpError
from service.media.exif import UPRIGHT
from service.media.pixels import RGB

MAX_STEPS = 1 << 18
"""Segments, chunks or blocks that a walk over one container may visit (20 MiB of GIF are 82,000 full blocks)."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a picture before any pixel is decoded. `width`, `height` are in pixels and as stored."""

    width: int
    height: int
    orientation: int = UPRIGHT
    frames: int = 1


class Codec(Protocol):
    """A format. Either function may raise anything; whoever calls them does so inside `decoding`."""

    def header(self, data: bytes) -> Header:
        """Sizes, orientation and number of frames, in time bounded by MAX_STEPS and without memory for pixels."""
        ...

    def decode(self, data: bytes, header: Header, shrink: int) -> RGB | Image.Image:
        """First frame as stored (not turned), opaque RGB; at 1/`shrink` of its size where the format can do it cheaper.

        `shrink` is 1, 2, 4 or 8, and a wish: formats without scaled decoding give the full size.
        """
        ...


class Cursor:
    """A place in hostile bytes. It can't leave them, nor walk for ever."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at, self._steps = data, at, 0

    def skip(self, count: int) -> int:
        """Go `count` bytes on, all of which must be there; returns where they start."""
        start, self.at = self.at, self.at + count
        self._steps += 1
        if self.at > len(self.data):
            raise Malformed(f"truncated: {self.at} bytes or more are announced, {len(self.data)} came")
        if self._steps > MAX_STEPS:
            raise Malformed(f"more than {MAX_STEPS} parts")
        return start

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        start = self.skip(count)
        return self.data[start : self.at]


@contextmanager
def decoding(kind: str) -> Iterator[None]:
    """Whatever a decoder raises on hostile bytes leaves as Malformed with its reason; errors of our own get the kind.

    MemoryError is among them: decoders raise it for sizes that make no sense; those that do were checked before.
    """
    try:
        yield
    except Malformed as error:
        raise Malformed(f"broken {kind}: {error.detail}") from error
    except OfframpError:
        raise
    except Exception as error:
        raise Malformed(f"broken {kind}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    origin = error.__cause__ or error  # Pillow wraps some of these in a SyntaxError
    if isinstance(origin, (IndexError, EOFError, struct.error)):
        return "the data end too early"
    if isinstance(origin, zlib.error):
        return "compressed data are damaged"
    return str(error)[:200] or type(error).__name__


def same_size(picture: Image.Image, header: Header) -> None:
    """Refuse a file on whose size its header and its decoder differ: only the header's was held to the limits."""
    if picture.size != (header.width, header.height):
        raise Malformed(f"contradictory sizes, {header.width}x{header.height} and {picture.width}x{picture.height}")
