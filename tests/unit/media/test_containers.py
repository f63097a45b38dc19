"""What containers announce is held against what came, before a demuxer believes it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Malformed, RequestError, TooLarge
from service.media import containers
from service.media.base import MediaType
from tests import clips

MP4, WEBM, AVI = MediaType.MP4, MediaType.WEBM, MediaType.AVI


def box(kind: bytes, *content: bytes) -> bytes:
    inside = b"".join(content)
    return struct.pack(">I4s", 8 + len(inside), kind) + inside


def words(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def track(*tables: bytes, kind: bytes = b"vide", edits: bytes = b"") -> bytes:
    media = box(b"mdia", box(b"hdlr", words(0, 0), kind), box(b"minf", box(b"stbl", *tables)))
    return box(b"trak", edits, media)


def sizes(samples: int, each: int = 0) -> bytes:
    return box(b"stsz", words(0, each, samples))


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        (MP4, {}),
        (MP4, {"audio": True}),
        (MP4, {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
        (WEBM, {"container": "matroska"}),
        (WEBM, {"container": "matroska", "container_options": {"live": "1"}}),
        (AVI, {"codec": "mpeg4", "container": "avi", "options": {}}),
    ],
)
def test_what_muxers_write_is_fine(kind: MediaType, form: dict[str, object]) -> None:
    containers.check(kind, clips.clip(4, **form))  # type: ignore[arg-type]


def test_a_table_that_one_number_fills_is_refused() -> None:
    fine = box(b"moov", track(sizes(1_000_000, each=1)))
    containers.check(MP4, fine)
    for bomb in (
        box(b"moov", track(sizes(2**31, each=1))),
        box(b"moov", *[track(sizes(1_500_000, each=1))] * 3),
        box(b"moof", box(b"traf", box(b"trun", words(0, 2**31)))),
        box(b"moov", track(sizes(10_000, each=1), edits=box(b"edts", box(b"elst", words(0, 1_000))))),
        box(b"moov", track(sizes(2**31, each=1), box(b"stts", words(0, 1, 9, 2)), kind=b"soun")),
        box(b"moov", track(sizes(2**31, each=1), kind=b"vide"), box(b"hdlr", words(0, 0), b"soun")),
    ):
        with pytest.raises(TooLarge, match="samples, the limit is") as refused:
            containers.check(MP4, bomb)
        assert refused.value.extra["value"] > refused.value.extra["limit"]


def test_plain_pcm_has_a_sample_for_every_tick() -> None:
    minutes = 48_000 * 600
    containers.check(
        MP4, box(b"moov", track(sizes(minutes, each=2), box(b"stts", words(0, 1, minutes, 1)), kind=b"soun"))
    )


@pytest.mark.parametrize("kind", [b"cmov", b"hoov"])
def test_a_header_that_hides_is_refused(kind: bytes) -> None:
    with pytest.raises(Malformed, match="hidden"):
        containers.check(MP4, box(b"moov", box(kind, b"zlib")))


def test_boxes_nest_only_so_deep_and_are_only_so_many() -> None:
    deep = b""
    for _ in range(1_000):
        deep = box(b"trak", deep)
    with pytest.raises(Malformed, match="nest deeper"):
        containers.check(MP4, deep)
    with pytest.raises(Malformed, match="boxes"):
        containers.check(MP4, box(b"free") * 100_001)


@pytest.mark.parametrize("size", [2, 7])
def test_a_box_is_at_least_its_own_header(size: int) -> None:
    with pytest.raises(Malformed, match="a box of"):
        containers.check(MP4, words(size) + b"free")


def test_large_boxes_and_such_to_the_end_are_read() -> None:
    containers.check(MP4, words(1) + b"mdat" + struct.pack(">Q", 20) + b"1234" + words(0) + b"free" + b"rest")
    with pytest.raises(Malformed, match="truncated"):
        containers.check(MP4, words(1) + b"mdat" + struct.pack(">Q", 2**40))


@given(st.sampled_from([MP4, WEBM, AVI]), st.binary(max_size=200))
def test_whatever_comes_is_fine_or_refused(kind: MediaType, data: bytes) -> None:
    magic = {MP4: b"", WEBM: b"\x1aE\xdf\xa3", AVI: b"RIFF"}[kind]
    try:
        containers.check(kind, magic + data)
    except RequestError as refused:
        assert refused.detail
