"""Whatever bytes come as a video, the answer is frames or an error of ours, in bounded time and memory."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import RequestError
from service.media.video import VideoLimits, VideoSource
from tests import clips
from tests.unit.media.test_video import FORMS, frame, frames, places

LIMITS = VideoLimits(max_pixels=1_000_000, max_decode_s=5)
hostile = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FILES = [
    clips.clip(20, **FORMS[form]) for form in ("h264 with B-frames", "fragmented", "matroska", "vp9", "mpeg4", "mjpeg")
]


def serve(data: bytes) -> None:
    try:
        source = VideoSource.open(data, limits=LIMITS)
        shown: Any = source.look(frame(), places(0.9, 0.1, 0.5))
        assert shown.shape == (3, 24, 32, 3)
        shown = source.look(frames(4), None)
        assert shown.shape == (1, 4, 12, 16, 3)
        assert shown.dtype == np.uint8
    except RequestError as refused:
        assert " at 0x" not in refused.detail
        assert refused.status in (400, 413, 415)


def test_the_files_themselves_are_fine() -> None:
    for data in FILES:
        assert VideoSource.open(data, limits=LIMITS).look(frame(), places(0.5)).shape == (1, 24, 32, 3)


@hostile
@given(st.sampled_from(FILES), st.data())
def test_any_truncation(data: bytes, draw: st.DataObject) -> None:
    serve(data[: draw.draw(st.integers(0, len(data) - 1))])


@hostile
@given(st.sampled_from(FILES), st.data())
def test_any_few_bytes_changed(data: bytes, draw: st.DataObject) -> None:
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 8))):
        damaged[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    serve(bytes(damaged))


@hostile
@given(st.sampled_from(FILES), st.data())
def test_any_part_missing_twice_or_of_another(data: bytes, draw: st.DataObject) -> None:
    start = draw.draw(st.integers(8, len(data) - 1))
    end = draw.draw(st.integers(start, len(data)))
    other = draw.draw(st.sampled_from(FILES))
    serve(data[:start] + data[end:])
    serve(data[:end] + data[start:])
    serve(data[:start] + other[start:])


@pytest.mark.parametrize("samples", [2**20, 2**31])
def test_a_table_of_nothing_takes_no_memory(samples: int) -> None:
    data = FILES[0]
    at = data.index(b"stsz") + 8
    tracemalloc.start()
    try:
        serve(data[:at] + struct.pack(">II", 1, samples) + data[at + 8 :])
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_damaged_samples_fail_the_look_not_the_process() -> None:
    data = FILES[0]
    at = data.index(b"mdat") + 4
    samples = np.random.default_rng(0).integers(0, 256, 1_000, np.uint8).tobytes()
    source = VideoSource.open(data[:at] + samples + data[at + len(samples) :])
    with pytest.raises(RequestError) as refused:
        source.look(frame(), places(0.1))
    assert refused.value.status == 400
