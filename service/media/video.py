"""Video as models want it: opened by its header, held to limits, decoded around the moments that a stage asks for.

A source is bytes and a header. The first look opens a decoder, which stays where it is for the next one as long as
memory allows (`service.media.warm`); a look holds no more frames than it gives. All of it belongs on a decode thread.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from service.errors import Malformed, TooLarge
from service.media import containers, playhead, strip
from service.media.base import MediaType, declared, identify, sniff
from service.media.codecs.base import decoding
from service.media.exif import swaps
from service.media.framing import orientation_of, scaled
from service.media.pixels import RGB
from service.media.playhead import Playhead, Work, time_of
from service.media.uploads import Payload, head
from service.media.warm import WARM
from service.package.glimpses import FrameGlimpse, FramesGlimpse, Glimpse

READABLE = tuple(containers.DEMUXERS)
"""The containers that are read here."""

# One container under two names, and phones are free with both.
_SIBLINGS = {MediaType.MP4, MediaType.QUICKTIME}
_MAX_STRETCH = 4
_MICROSECONDS = 1_000_000
_A_HAIR = 1e-3  # of a tick: shares come as float32, and 0.56 of 50 ticks is not the 27th
_FULL_SIZE = 0
_EXACT = 0


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """What a video may be. All but `max_decode_s` are checked on the header, before anything is decoded."""

    max_bytes: int = 200 * 2**20
    """Bytes of the container."""
    max_seconds: float = 600.0
    """Its duration."""
    max_frames: int = 36_000
    """Frames that it announces: ten minutes of 60 a second."""
    max_pixels: int = 4096 * 2304
    """Pixels of one frame. A decoder holds up to 17 frames of 1.5 to 3 bytes a pixel."""
    max_side: int = 16_384
    """Pixels along either side."""
    max_decode_s: float = 30.0
    """Processor time that reading one video may take, all looks together: key frames may lie minutes apart."""


class VideoSource:
    """An encoded video within its limits. Nothing is decoded until a look is taken. For any thread, one at a time."""

    def __init__(self, data: Payload, kind: MediaType, limits: VideoLimits) -> None:
        """Use `open`."""
        self._data, self._kind, self._limits = data, kind, limits
        self._lock = threading.Lock()
        self._heads: dict[int, Playhead] = {}
        self._begins: dict[tuple[int, int], int] = {}
        self._turned = False
        self.work = Work(limits.max_decode_s)
        stream = self._stream()
        try:
            self._read_header(stream)
        finally:
            playhead.release(stream.container)

    def _read_header(self, stream: VideoStream) -> None:
        context = stream.codec_context
        self.codec, self.width, self.height = context.name, context.width, context.height
        self._check_size()
        self._aspect = _sane(stream.sample_aspect_ratio)
        self._base, self._start = stream.time_base or Fraction(1, _MICROSECONDS), stream.start_time or 0
        self._ticks = self._length(stream)
        self._check_length(stream)

    @classmethod
    def open(cls, data: Payload, *, content_type: str | None = None, limits: VideoLimits | None = None) -> VideoSource:
        """Read the header of `data`, declared as `content_type` (a header's value, or None).

        Raises:
            UnsupportedMedia: not a video that is read here, or not what it says, or without moving pictures.
            Malformed: broken or cut off so that the header shows it.
            TooLarge: above `limits` (the defaults of VideoLimits if None).
        """
        limits = limits or VideoLimits()
        _check("bytes", len(data), limits.max_bytes)
        start = head(data)
        if {declared(content_type), sniff(start)} == _SIBLINGS:
            content_type = None
        kind = identify(start, content_type, readable=READABLE)
        with decoding(kind):
            containers.check(kind, data)
            return cls(data, kind, limits)

    @property
    def area(self) -> int:
        """Pixels of one frame as stored."""
        return int(self.width * self.height)

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame's begin to the last one's end."""
        return float(self._ticks * self._base)

    def look(self, glimpse: Glimpse, at: NDArray[np.float32] | None) -> RGB:
        """Frames upright, scaled to cover the size that a stage asks for and cut at their centre.

        A `frame` glimpse: those shown at `at` float32 [k, 1], shares of the duration 0..1: uint8 [k, height, width, 3].
        They may come in any order; rising is cheapest. A `frames` glimpse: small frames spread evenly, uint8 [1, count,
        height, width, 3]; each is of its moment or, where that saves decoding, the key frame up to half a step before.

        Raises:
            Malformed: the data turn out to be damaged.
            TooLarge: decoding takes too long.
        """
        if isinstance(glimpse, FramesGlimpse):
            return np.stack([self._spread(glimpse, place) for place in range(glimpse.count)])[None]
        height, width, _ = glimpse.shape
        return np.stack([self._shown(moment, height, width) for moment in self._moments(glimpse, at)])

    def tells(self, glimpse: Glimpse, at: NDArray[np.float32] | None) -> list[dict[str, Any]]:
        """When the frames of a look begin, in seconds from the first one."""
        if isinstance(glimpse, FramesGlimpse):
            count = glimpse.count
            if (self._tick(0.5 / count), count) not in self._begins:
                self.look(glimpse, None)
            begins = [self._begins[self._tick((place + 0.5) / count), count] for place in range(count)]
            return [{"time_s": [self._seconds(begin) for begin in begins]}]
        moments = self._moments(glimpse, at)
        for moment in moments:
            if (moment, _EXACT) not in self._begins:
                self._shown(moment, 1, 1)
        return [{"time_s": self._seconds(self._begins[moment, _EXACT])} for moment in moments]

    def picture(self, seen: Sequence[Mapping[str, Any]]) -> bytes | None:
        """PNG of the frames that looks have told of, in the order in which they were seen."""
        times = [float(time_s) for one in seen for time_s in np.ravel(one.get("time_s", []))][: strip.MAX_FRAMES]
        width = round(self.width * self._aspect)
        size = strip.size(width, self.height) if self._turned else strip.size(self.height, width)
        moments = [self._start + round(Fraction(time_s) / self._base) for time_s in times]
        shown = [self._shown(moment, *size) for moment in moments]
        return strip.strip(list(zip(times, shown, strict=True))) if shown else None

    def cool(self) -> bool:
        """See `service.media.warm.Coolable`."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self._heads.clear()
        finally:
            self._lock.release()
        return True

    def _moments(self, glimpse: Glimpse, at: NDArray[np.float32] | None) -> list[int]:
        places = glimpse.default if at is None else at
        if not isinstance(glimpse, FrameGlimpse) or places is None:
            raise ValueError(f"a video has no glimpse {glimpse.glimpse!r} at {places}")
        return [self._tick(share) for (share,) in places]

    def _tick(self, share: float) -> int:
        """A share of the duration as a moment of the stream; the end belongs to the last frame."""
        share = min(max(float(share), 0.0), 1.0) if math.isfinite(share) else 0.0
        return self._start + min(int(share * self._ticks + _A_HAIR), self._ticks - 1)

    def _seconds(self, tick: int) -> float:
        return float((tick - self._start) * self._base)

    def _shown(self, moment: int, height: int, width: int) -> RGB:
        """The frame of a moment: uint8 [height, width, 3]."""
        with self._reading():
            return self._seen(self._head(_FULL_SIZE).at(moment), (moment, _EXACT), height, width)

    def _spread(self, glimpse: FramesGlimpse, place: int) -> RGB:
        """One of the frames for a scorer: uint8 [height, width, 3]."""
        moment = self._tick((place + 0.5) / glimpse.count)
        room = min(self.height / glimpse.height, self.width / glimpse.width)
        lowres = min(playhead.LOWRES.get(self.codec, _FULL_SIZE), max(_FULL_SIZE, int(math.log2(room))))
        with self._reading():
            reader = self._head(lowres)
            frame = reader.key_near(moment, self._ticks // (2 * glimpse.count)) or reader.at(moment)
            return self._seen(frame, (moment, glimpse.count), glimpse.height, glimpse.width)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, decoding(self._kind):
            yield
        WARM.used(self)

    def _seen(self, frame: VideoFrame, key: tuple[int, int], height: int, width: int) -> RGB:
        self._begins[key] = max(time_of(frame), self._start)
        self._turned = swaps(orientation_of(frame))
        return scaled(frame, height, width, self._aspect)

    def _head(self, lowres: int) -> Playhead:
        if lowres not in self._heads:
            stream = self._stream(lowres)
            try:
                self._heads[lowres] = head = Playhead(stream, self.work)
            except BaseException:
                playhead.release(stream.container)
                raise
            weakref.finalize(head, playhead.release, stream.container).atexit = False  # threads may still read
        return self._heads[lowres]

    def _stream(self, lowres: int = _FULL_SIZE) -> VideoStream:
        demuxer = containers.DEMUXERS[self._kind]
        return playhead.open_stream(self._data, demuxer, max_pixels=self._limits.max_pixels, lowres=lowres)

    def _check_size(self) -> None:
        if self.width < 1 or self.height < 1:
            raise Malformed(f"its size is {self.width}x{self.height}")
        _check("pixels on a side", max(self.width, self.height), self._limits.max_side)
        _check("pixels", self.area, self._limits.max_pixels)

    def _length(self, stream: VideoStream) -> int:
        """Ticks from begin to end: as the stream says, else its container, else by reading all packets."""
        ticks, entries = stream.duration or 0, stream.index_entries
        whole = getattr(stream.container, "duration", None)
        if ticks <= 0 and whole:  # Matroska's duration counts from 0, also where the first frame is later
            ticks = round(Fraction(whole, _MICROSECONDS) / self._base) - self._start
        if ticks <= 0:
            ticks = Playhead(stream, self.work).measure(time.thread_time()) - self._start
        last = entries[len(entries) - 1].timestamp - self._start if len(entries) else 0
        return max(1, ticks, last)  # variable rates are told short by some muxers

    def _check_length(self, stream: VideoStream) -> None:
        _check("seconds", math.ceil(self.duration_s * 1000) / 1000, self._limits.max_seconds)
        announced = max(stream.frames, len(stream.index_entries))
        _check("frames", announced or round(self.duration_s * float(stream.guessed_rate or 0)), self._limits.max_frames)


def _sane(aspect: Fraction | None) -> float:
    """A sample aspect ratio, or 1 if there is none that makes sense."""
    return float(aspect) if aspect and 1 / _MAX_STRETCH <= aspect <= _MAX_STRETCH else 1.0


def _check(what: str, value: float, limit: float) -> None:
    if value > limit:
        raise TooLarge(f"the video has {value:,g} {what}, the limit is {limit:,g}", limit=limit, value=value)
