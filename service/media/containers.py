"""Video containers before a demuxer sees them: which are read, whether all bytes came, how much they would unfold to.

A table of samples may be told by one number, for which FFmpeg takes 32 bytes a sample; a kilobyte could ask for
gigabytes. Boxes of MP4 (ISO 14496-12), elements of Matroska (RFC 8794, RFC 9559) and chunks of RIFF are looked at only
as far as that takes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from service.errors import Malformed, TooLarge
from service.media.base import MediaType
from service.media.uploads import Payload, Upload

DEMUXERS = {
    MediaType.MP4: "mov",
    MediaType.QUICKTIME: "mov",
    MediaType.WEBM: "matroska",
    MediaType.AVI: "avi",
}
"""FFmpeg's demuxer of each kind. Always named: those it would find by itself read playlists, and follow their links."""

_MAX_BOXES = 100_000
_MAX_DEPTH = 16
_MAX_SAMPLES = 4_000_000
"""Entries that an index may unfold to, all tracks together: 128 MB, or ten hours of video with sound."""
_NESTS = {b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex", b"udta", b"dinf", b"wave"}
_SEGMENT = 0x18538067


def check(kind: MediaType, data: Payload) -> None:
    """Refuse what is cut off, and what would unfold to an index without measure.

    Raises:
        Malformed: bytes are missing, or the container contradicts itself.
        TooLarge: its tables announce too many samples.
    """
    if kind in (MediaType.MP4, MediaType.QUICKTIME):
        _check_boxes(data)
    elif kind is MediaType.WEBM:
        _check_end(data, _segment_end(_cut(data, 0, 64)))
    elif kind is MediaType.AVI:
        _check_end(data, 8 + int.from_bytes(_cut(data, 4, 4), "little"))


def _cut(data: Payload, start: int, count: int) -> bytes:
    return data.at(start, count) if isinstance(data, Upload) else data[start : start + count]


def _check_end(data: Payload, end: int) -> None:
    if end > len(data):
        raise Malformed(f"truncated: {end} bytes or more are announced, {len(data)} came")


def _segment_end(start: bytes) -> int:
    """Where the first segment ends; 0 if the file doesn't say, as those that were recorded live."""
    at = 4
    length, size, _ = _number(start, at)
    at += length + size
    if at + 12 > len(start) or int.from_bytes(start[at : at + 4], "big") != _SEGMENT:
        return 0
    length, size, known = _number(start, at + 4)
    return at + 4 + length + size if known else 0


def _number(data: bytes, at: int) -> tuple[int, int, bool]:
    """An EBML number: its own length, its value, and whether it isn't "unknown" (all ones)."""
    if at >= len(data) or not data[at]:
        return 1, 0, False
    length = 9 - data[at].bit_length()
    mask = (1 << 7 * length) - 1
    value = int.from_bytes(data[at : at + length], "big") & mask
    return length, value, value != mask


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int
    """Of its content."""
    end: int
    depth: int


def _boxes(data: Payload, start: int, end: int, depth: int = 0) -> Iterator[_Box]:
    """All boxes between two places, each before those within it."""
    at = start
    while at + 8 <= end:
        size, kind = struct.unpack(">I4s", _cut(data, at, 8))
        begins = at + 8
        if size == 1:
            size, begins = int.from_bytes(_cut(data, at + 8, 8), "big"), at + 16
        elif size == 0:
            size = end - at
        if size < begins - at:
            raise Malformed(f"a box of {size} bytes")
        if at + size > end:
            raise Malformed(f"truncated: {at + size} bytes or more are announced, {end} came")
        yield _Box(kind, begins, at + size, depth)
        if kind in _NESTS:
            if depth == _MAX_DEPTH:
                raise Malformed(f"boxes nest deeper than {_MAX_DEPTH}")
            yield from _boxes(data, begins, at + size, depth + 1)
        at += size


def _check_boxes(data: Payload) -> None:
    tracks = _Tracks()
    for place, box in enumerate(_boxes(data, 0, len(data))):
        if place == _MAX_BOXES:
            raise Malformed(f"more than {_MAX_BOXES} boxes")
        if box.kind in (b"cmov", b"hoov"):
            raise Malformed("its header is compressed or hidden")
        tracks.see(box.kind, _cut(data, box.start, min(24, box.end - box.start)))
    if tracks.total > _MAX_SAMPLES:
        detail = f"its tables announce {tracks.total} samples, the limit is {_MAX_SAMPLES}"
        raise TooLarge(detail, limit=_MAX_SAMPLES, value=tracks.total)


class _Tracks:
    """Counts what FFmpeg's index of each track would hold."""

    def __init__(self) -> None:
        self._done = 0
        self._begin()

    def _begin(self) -> None:
        self._samples, self._edits = 0, 1
        self._handlers: set[bytes] = set()
        self._plain = True

    @property
    def total(self) -> int:
        """Entries of all tracks."""
        return self._done + self._own

    @property
    def _own(self) -> int:
        # Plain PCM is indexed by chunks, whose table is in the file; its samples are 48,000 a second.
        sound = b"soun" in self._handlers and b"vide" not in self._handlers
        return 0 if sound and self._plain else self._samples * self._edits

    def see(self, kind: bytes, content: bytes) -> None:
        """One box: `content` is its first bytes."""
        if kind in (b"trak", b"traf"):
            self._done += self._own
            self._begin()
        elif kind == b"hdlr":
            self._handlers.add(content[8:12])
        elif kind == b"elst":
            self._edits = max(self._edits, _word(content, 4))
        elif kind == b"stts":
            self._plain &= (_word(content, 4), _word(content, 12)) == (1, 1)
        elif kind in (b"stsz", b"stz2"):
            self._plain &= kind == b"stsz" and _word(content, 4) > 0
            self._samples += _word(content, 8)
        elif kind == b"trun":
            self._plain = False
            self._samples += _word(content, 4)


def _word(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 4], "big")
