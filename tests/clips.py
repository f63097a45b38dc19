"""Clips made in a moment: each frame is of one grey, which tells its number, with a red left edge: up is told by it.

Encoders are lossy, so a grey is told to within a level or two; numbers are `STEP` levels apart.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

STEP = 4
LOSS = 1.5
"""Levels that the way through YUV takes from a grey, about."""
WIDTH, HEIGHT = 64, 48
EDGE = 8
"""Columns of the red edge."""
TICK_MS = 40
H264 = {"crf": "10", "g": "25", "bf": "3", "b_strategy": "0"}
"""A key frame a second, with three B-frames between others, whose pyramid refers to them."""


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """The frame of that number: uint8 [height, width, 3]."""
    pixels = np.full((height, width, 3), number * STEP % 256, np.uint8)
    pixels[:, : EDGE * width // WIDTH] = (255, 0, 0)
    return pixels


def number(pixels: NDArray[Any]) -> int:
    """Which frame that is, of the first 64: read in the middle, so that scaling and turning don't matter."""
    height, width, _ = pixels.shape
    return round((float(pixels[height // 2, width // 2].mean()) + LOSS) / STEP)


def clip(
    frames: int | Sequence[NDArray[np.uint8]] = 50,
    *,
    codec: str = "libx264",
    container: str = "mp4",
    options: Mapping[str, str] | None = None,
    times_ms: Sequence[int] | None = None,
    rotation: float = 0,
    pix_fmt: str = "yuv420p",
    aspect: Fraction | None = None,
    audio: bool = False,
    container_options: Mapping[str, str] | None = None,
) -> bytes:
    """An encoded clip of `frames`, which may be how many of `picture`; `times_ms` says when each is due."""
    pictures = [picture(n) for n in range(frames)] if isinstance(frames, int) else frames
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, options=dict(container_options or {})) as output:
        stream = output.add_stream(codec, rate=1000 // TICK_MS)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, _ = pictures[0].shape
        stream.pix_fmt = pix_fmt
        stream.options = dict((H264 if codec == "libx264" else {}) if options is None else options)
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        sound = output.add_stream("aac", rate=8000) if audio else None
        for place, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts = place if times_ms is None else times_ms[place]
            frame.time_base = Fraction(1, 1000) if times_ms is not None else Fraction(TICK_MS, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
        if sound is not None:
            _speak(output, sound, seconds=len(pictures) * TICK_MS / 1000)
    return buffer.getvalue()


def sound(container: str = "mp4") -> bytes:
    """A second of a tone, without any picture."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        _speak(output, output.add_stream("aac", rate=8000), seconds=1.0)
    return buffer.getvalue()


def _speak(output: Any, stream: Any, *, seconds: float) -> None:
    for start in range(0, int(seconds * 8000), 1024):
        wave = np.sin(np.arange(start, start + 1024) / 5).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.rate, frame.pts = 8000, start
        output.mux(stream.encode(frame))
    output.mux(stream.encode())


def decoded(data: bytes) -> list[tuple[float, int]]:
    """Seconds and number of every frame, by decoding all of it in order: what everything else is held against."""
    with av.open(io.BytesIO(data), "r") as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    return [(time - frames[0][0], number(pixels)) for time, pixels in frames]
