"""`python -m loadtest.video`: what it costs to look at three moments of a minute of video, against decoding all of it.

Clips are made here: 60 s at 25 frames a second, 640 x 360, a noisy texture that drifts under noise of each frame. Times
are processor seconds of one thread, the median of several runs, opening included.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from service.media.framing import scaled
from service.media.video import VideoSource
from service.package.glimpses import FrameGlimpse, FramesGlimpse

SECONDS, RATE, WIDTH, HEIGHT = 60, 25, 640, 360
SIDE, SMALL = 224, 32
MOMENTS = (0.21, 0.52, 0.83)
CLIPS = {
    "H.264, a key frame in 2 s": ("libx264", {"preset": "veryfast", "g": "50"}),
    "H.264, a key frame in 10 s": ("libx264", {"preset": "veryfast", "g": "250", "sc_threshold": "0"}),
    "MPEG-4 part 2, in 2 s": ("mpeg4", {"g": "50", "b": "2000000"}),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one way to read a clip."""

    ms: float
    frames: int


def pictures() -> Iterator[NDArray[np.uint8]]:
    """The frames of a clip: uint8 [height, width, 3]."""
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(0, 256, (HEIGHT // 8, WIDTH // 4, 3)), np.ones((8, 8, 1))).astype(np.int16)
    for number in range(SECONDS * RATE):
        left = number * 3 % WIDTH
        noise = rng.integers(-6, 7, (HEIGHT, WIDTH, 1), np.int16)
        yield (texture[:, left : left + WIDTH] + noise).clip(0, 255).astype(np.uint8)


def clip(codec: str, options: dict[str, str]) -> bytes:
    """A minute of them in an MP4."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream(codec, rate=RATE, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, pixels in enumerate(pictures()):
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return buffer.getvalue()


def everything(data: bytes) -> int:
    """Decode and scale every frame, as a server without looks would; how many."""
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return sum(scaled(frame, SIDE, SIDE).shape[0] > 0 for frame in container.decode(stream))


def walk(data: bytes) -> int:
    """Look at three moments, one after the other; frames that were decoded for it."""
    source = VideoSource.open(data)
    for share in MOMENTS:
        source.look(FrameGlimpse(glimpse="frame", height=SIDE, width=SIDE), np.array([[share]], np.float32))
    return source.work.frames


def scan(data: bytes) -> int:
    """Sixteen small frames for a scorer."""
    source = VideoSource.open(data)
    source.look(FramesGlimpse(glimpse="frames", count=16, height=SMALL, width=SMALL), None)
    return source.work.frames


WAYS: dict[str, Callable[[bytes], int]] = {"all frames": everything, "three moments": walk, "16 small frames": scan}


def measured(way: Callable[[bytes], int], data: bytes, runs: int) -> Cost:
    """The median of several runs."""
    times = []
    for _ in range(runs):
        start = time.thread_time()
        frames = way(data)
        times.append(time.thread_time() - start)
    return Cost(statistics.median(times) * 1e3, frames)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table of docs/video.md."""
    parser = argparse.ArgumentParser(prog="loadtest.video", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args(arguments)
    print("| clip | MB | way | ms | frames decoded |\n| --- | --- | --- | --- | --- |")
    for name, (codec, options) in CLIPS.items():
        data = clip(codec, options)
        for way, read in WAYS.items():
            cost = measured(read, data, given.runs)
            print(f"| {name} | {len(data) / 1e6:.1f} | {way} | {cost.ms:.1f} | {cost.frames} |", flush=True)


if __name__ == "__main__":
    main()
