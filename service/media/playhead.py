"""A place in a video: goes to the frame of a moment and decodes no more than that takes.

Packets are read in the order of decoding, frames come out in the order of showing. To reach a moment the playhead
starts at the key frame before it, or where it stands if that is nearer, and lets the decoder drop frames that no other
refers to, as long as packets already read show that a later one is due at that moment. So what comes out doesn't
depend on the way there: the frame of a moment is the last one whose time isn't after it, whatever was read before.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
from av.container import Container, InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from service.errors import Malformed, TooLarge, UnsupportedMedia
from service.media.uploads import Payload, reader

CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mpeg4", "mpeg2video", "mjpeg"})
"""Decoders that are let near anybody's bytes: those that browsers and cameras make work for."""
LOWRES = {"mpeg4": 3, "mpeg2video": 3, "mjpeg": 3}
"""Codecs that can leave out the finer part of each block, and how often they can halve the sides so."""

_IO_BYTES = 65_536
_AHEAD = 8
"""Packets read before the one that is decoded next. More of them make no frame better, and few more be dropped."""
_UNINDEXED_S = 2.0
"""How far to read on where no index says whether a key frame lies between."""
_SEEKS = 4
# Coded sizes are whole blocks, up to 64 a side, and a limit that they just pass is no bomb.
_PIXEL_SLACK = 1.25


@dataclass(slots=True)
class Work:
    """What reading one source has cost so far, and may cost. Owned by the source.

    Attributes:
        limit_s: seconds of processor time for all of its looks together.
        frames: frames that were decoded, shown or not.
        seeks: times that a playhead was put elsewhere.
    """

    limit_s: float
    spent_s: float = 0.0
    frames: int = 0
    seeks: int = 0

    def check(self, started_at: float) -> None:
        """Refuse to go on above the limit; `started_at` is `time.thread_time()` as this look began.

        Raises:
            TooLarge: too much was spent.
        """
        if self.spent_s + time.thread_time() - started_at > self.limit_s:
            detail = f"decoding this video took more than {self.limit_s:g} s of processor time"
            raise TooLarge(detail, limit=self.limit_s)


def open_stream(data: Payload, demuxer: str, *, max_pixels: int, lowres: int = 0) -> VideoStream:
    """The first moving picture of a container, its decoder not opened yet; the other streams are not read.

    Raises:
        UnsupportedMedia: it has none, or one of a codec that isn't read here.
        av.FFmpegError: it can't be read.
    """
    bounds = {"max_pixels": str(int(max_pixels * _PIXEL_SLACK))}
    container = av.open(reader(data), format=demuxer, options=bounds, buffer_size=_IO_BYTES)
    assert isinstance(container, InputContainer), "opened for reading"
    try:
        return _opened(container, bounds, lowres)
    except BaseException:
        release(container)
        raise


def release(container: Container) -> None:
    """Close it, so that its bytes go at once: it and its streams hold each other, and would wait for the collector.

    Nothing of it may be used any more, by any thread; frames may.
    """
    container.close()


def _opened(container: InputContainer, bounds: dict[str, str], lowres: int) -> VideoStream:
    stream = next((one for one in container.streams.video if not one.disposition & Disposition.attached_pic), None)
    if stream is None:
        kinds = sorted({one.type for one in container.streams})
        raise UnsupportedMedia(f"no video in it, only {' and '.join(kinds) or 'an empty container'}", found=kinds)
    context = stream.codec_context
    name = getattr(context, "name", "of no known codec")  # a stream that no decoder knows has no context
    if name not in CODECS:
        raise UnsupportedMedia(f"video {name!r} isn't read here", found=name, accepted=sorted(CODECS))
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    context.thread_count = 1  # decode threads are counted by the settings; a decoder's own would come on top
    context.options = bounds | ({"lowres": str(lowres)} if lowres else {})
    return stream


class Playhead:
    """One open container and decoder. For one thread at a time; errors of FFmpeg are the caller's to name."""

    def __init__(self, stream: VideoStream, work: Work) -> None:
        self._stream, self._work = stream, work
        container = stream.container
        assert isinstance(container, InputContainer), "opened for reading"
        self._container = container
        self.base = stream.time_base or Fraction(1, 1_000_000)
        self.start = stream.start_time or 0
        container.seek(self.start, stream=stream)  # Matroska's index is read by the first seek, not before
        # Taken once: what demuxers add to it while they read would make the way depend on what was read before.
        self._keys = [entry.timestamp for entry in stream.index_entries if entry.is_keyframe]
        self._forget()

    def at(self, moment: int) -> VideoFrame:
        """The frame shown at a moment, in ticks of `base`: the last whose time isn't after it, else the first.

        Raises:
            Malformed: there is no frame that could be decoded, or the data around it are damaged.
            TooLarge: to get there took too long.
        """
        started_at = time.thread_time()
        try:
            if not self._near(moment):
                self._seek(moment)
            return self._play(moment, started_at)
        finally:
            self._work.spent_s += time.thread_time() - started_at

    def key_near(self, moment: int, within: int) -> VideoFrame | None:
        """The key frame before a moment, alone, if the index knows one at most `within` ticks earlier."""
        known = self._key_before(moment)
        if known is None or moment - known > within:
            return None
        started_at = time.thread_time()
        self._seek(moment)
        packet = self._look_ahead(1)
        if packet is None or not packet.is_keyframe:
            return None
        context, self._astray = self._stream.codec_context, True
        context.skip_frame = "DEFAULT"
        # Ended at once, the decoder needn't be shown the frames that could have come before this one.
        frames = [*context.decode(packet), *context.decode(None)]
        self._work.frames += 1
        self._work.spent_s += time.thread_time() - started_at
        self._work.check(time.thread_time())
        return frames[0] if frames and not frames[0].is_corrupt else None

    def measure(self, started_at: float) -> int:
        """When the last frame ends, in ticks, for containers that don't say: every packet is read, none decoded."""
        self._forget()
        self._astray = True
        last = self.start
        for packet in self._packets:
            if packet.pts is not None:
                last = max(last, packet.pts + (packet.duration or 0))
            self._work.check(started_at)
        return last

    def _key_before(self, moment: int) -> int | None:
        """When the key frame before a moment is decoded, by the container's index; None if that doesn't tell."""
        place = bisect_right(self._keys, moment) - 1
        return self._keys[place] if len(self._keys) > 1 and place >= 0 else None

    def _forget(self) -> None:
        """No position: what was read before has nothing to do with what is read next."""
        self._astray = False
        self._held: VideoFrame | None = None
        self._out: deque[VideoFrame] = deque()
        self._inside: set[int] = set()
        self._dropped: set[int] = set()
        self._ahead: deque[Packet[VideoStream]] = deque()
        self._read_to: int | None = None
        self._packets: Iterator[Packet[VideoStream]] = self._container.demux(self._stream)
        self._read_all = self._drained = False

    def _near(self, moment: int) -> bool:
        """Whether reading on is the shortest way."""
        at = time_of(self._held) if self._held is not None else self.start
        if self._astray or moment < at:
            return False
        key = self._key_before(moment)
        if key is None:
            return (moment - at) * self.base <= _UNINDEXED_S
        return key <= (self._keys[0] if self._read_to is None else self._read_to)

    def _seek(self, moment: int) -> None:
        """To the last key frame that is shown no later. Containers search by time of decoding, which is earlier."""
        goal, start = max(moment, self.start), self.start
        for turn in range(_SEEKS):
            goal = goal if turn < _SEEKS - 1 else start
            self._container.seek(goal, stream=self._stream, backward=True)
            self._work.seeks += 1
            self._forget()
            first = self._look_ahead(1)
            if first is None or first.pts is None or first.pts <= moment or goal <= start:
                return
            goal = max(start, min(goal, first.pts if first.dts is None else first.dts) - 1)

    def _play(self, moment: int, started_at: float) -> VideoFrame:
        while True:
            while self._out and time_of(self._out[0]) <= moment:
                self._held = self._out.popleft()
            if self._out or self._drained or not self._closer(moment):
                break
            self._work.check(started_at)
            self._send(moment)
        frame = self._held if self._held is not None else next(iter(self._out), None)
        if frame is None:
            raise Malformed("no frame in it could be decoded")
        if frame.is_corrupt:
            raise Malformed("the data of a frame are damaged")
        return frame

    def _closer(self, moment: int) -> bool:
        """Whether a frame between the one held and the moment may still come."""
        if self._held is None:
            return True
        self._look_ahead(_AHEAD)
        last = self._ahead[-1].dts if self._ahead else None
        if not self._read_all and (last is None or last <= moment):
            return True
        held, due = time_of(self._held), [packet.pts for packet in self._ahead]
        return any(pts is None or held < pts <= moment for pts in (*due, *self._inside))

    def _look_ahead(self, count: int) -> Packet[VideoStream] | None:
        """Read packets until `count` wait; the first of those."""
        while len(self._ahead) < count and not self._read_all:
            packet = next(self._packets, None)
            if packet is None or (packet.dts is None and not packet.size):  # PyAV ends by an empty packet
                self._read_all = True
            else:
                self._ahead.append(packet)
                self._read_to = packet.dts if packet.dts is not None else packet.pts
        return self._ahead[0] if self._ahead else None

    def _send(self, moment: int) -> None:
        """One packet into the decoder, and what comes out of it."""
        context = self._stream.codec_context
        packet = self._look_ahead(_AHEAD)
        if packet is None:
            self._drained = True
            self._take(context.decode(None))
            return
        self._ahead.popleft()
        passed = self._passed(packet.pts, moment)
        context.skip_frame = "NONREF" if passed else "DEFAULT"
        self._work.frames += not passed
        if packet.pts is not None:
            (self._dropped if passed else self._inside).add(packet.pts)
        self._take(context.decode(packet))

    def _passed(self, pts: int | None, moment: int) -> bool:
        """Whether a frame is known not to be the one of the moment, nor one of a later moment."""
        if pts is None or pts > moment:
            return False
        return any(one is not None and pts < one <= moment for one in (*self._inside, *(p.pts for p in self._ahead)))

    def _take(self, frames: list[VideoFrame]) -> None:
        for frame in frames:
            at = time_of(frame)
            self._work.frames += at in self._dropped  # others refer to it: it was decoded all the same
            self._inside = {pts for pts in self._inside if pts > at}
            self._dropped = {pts for pts in self._dropped if pts > at}
            self._out.append(frame)


def time_of(frame: VideoFrame) -> int:
    """When a frame is due, in ticks of its stream. Where the container has only times of decoding, they have to do."""
    return frame.pts if frame.pts is not None else frame.dts or 0
