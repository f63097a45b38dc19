"""Bodies that may bring a video: on disk as they come, within their own limits, and gone when nobody wants them."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api import bodies
from service.api.bodies import Body, Room
from service.errors import Cancelled, Malformed, Overloaded, RequestError, TooLarge
from service.media.uploads import Spool, Upload, whole
from tests.unit.api.test_bodies import FORM, form, part, request

IN_MEMORY = 100


def room(max_bytes: int = 100_000, spool_bytes: int = 200_000) -> Room:
    return Room(Spool(spool_bytes, IN_MEMORY), max_bytes)


def read(chunks: Sequence[bytes], kind: str | None, into: Room, **more: str) -> Body:
    headers = more | ({"Content-Type": kind} if kind else {})
    return asyncio.run(bodies.read(request(chunks, headers), max_bytes=1_000, max_inputs=4, room=into))


def files_on_disk(body: Body) -> list[bool]:
    return [isinstance(one.data, Upload) for one in body.inputs]


def emptied(spool: Spool) -> bool:
    """Whether the room is free again. The thread that wrote last may hold on to a file for a moment."""
    deadline = time.monotonic() + 10
    while spool.used and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.001)
    return spool.used == 0


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@given(st.lists(st.binary(max_size=80), min_size=1, max_size=6), st.sampled_from([None, "video/mp4"]))
def test_raw_bytes_are_one_input_on_disk_once_they_are_many(chunks: list[bytes], kind: str | None) -> None:
    body = read(chunks, kind, room())
    assert whole(body.inputs[0].data) == b"".join(chunks)
    assert body.inputs[0].content_type == kind
    assert files_on_disk(body) == [len(b"".join(chunks)) > IN_MEMORY]


@given(st.lists(st.integers(0, 300), min_size=1, max_size=4), st.integers(1, 400))
def test_files_of_a_form_come_as_they_are_and_in_order(sizes: list[int], step: int) -> None:
    files = [bytes([65 + place]) * size for place, size in enumerate(sizes)]
    sent = form(*(part(file, kind="video/mp4") for file in files), part(b"20", name="latency_ms", filename=None))
    into = room()

    def answered() -> None:
        body = read([sent[at : at + step] for at in range(0, len(sent), step)], FORM, into)
        assert [whole(one.data) for one in body.inputs] == files
        assert files_on_disk(body) == [size > IN_MEMORY for size in sizes]
        assert body.budget == {"latency_ms": 20.0}
        assert into.spool.used == sum(size for size in sizes if size > IN_MEMORY)

    answered()
    assert emptied(into.spool)


@pytest.mark.parametrize("kind", [None, "video/mp4", FORM])
def test_the_limit_is_that_of_videos(kind: str | None) -> None:
    sent = form(part(b"x" * 5_000)) if kind == FORM else b"x" * 5_000
    assert len(read([sent], kind, room(len(sent))).inputs) == 1
    before = open_files()
    into = room(len(sent) - 1)
    for headers in ({}, {"Content-Length": str(len(sent))}):
        with pytest.raises(TooLarge) as refused:
            read([sent[:3_000], sent[3_000:]], kind, into, **headers)
        assert refused.value.extra["limit"] == len(sent) - 1
    assert emptied(into.spool)
    assert open_files() == before


def test_json_stays_in_memory_within_its_own_limit() -> None:
    with pytest.raises(TooLarge) as refused:
        read([b'{"inputs": [{"video_base64": "' + b"A" * 2_000 + b'"}]}'], "application/json", room())
    assert refused.value.extra["limit"] == 1_000
    body = read([b'{"inputs": [{"video_base64": "' + b"A" * 800 + b'"}]}'], "application/json", room())
    assert (files_on_disk(body), body.inputs[0].modality) == ([False], "video")


@pytest.mark.parametrize("kind", [None, FORM])
def test_a_client_that_leaves_in_the_middle_leaves_nothing(kind: str | None) -> None:
    sent = form(part(b"x" * 5_000))
    into, before = room(), open_files()

    async def receive_and_leave() -> None:
        messages = [{"type": "http.request", "body": sent[:2_000], "more_body": True}, {"type": "http.disconnect"}]
        left = request([], {"Content-Type": kind} if kind else {})
        left._receive = lambda: _next(messages)
        await bodies.read(left, max_bytes=1_000, max_inputs=4, room=into)

    with pytest.raises(Cancelled):
        asyncio.run(receive_and_leave())
    assert emptied(into.spool)
    assert open_files() == before


async def _next(messages: list[dict[str, object]]) -> dict[str, object]:
    return messages.pop(0)


@pytest.mark.parametrize("kind", [None, FORM])
def test_where_uploads_fill_the_room_others_have_to_come_again(kind: str | None) -> None:
    into, before = room(spool_bytes=3_000), open_files()
    sent = form(part(b"x" * 5_000))
    with pytest.raises(Overloaded):
        read([sent[:2_000], sent[2_000:]], kind, into)
    assert emptied(into.spool)
    assert open_files() == before


@given(st.data())
def test_a_form_cut_anywhere_is_refused_and_leaves_nothing(data: st.DataObject) -> None:
    sent = form(part(b"f" * 300), part(b"s" * 50))
    into, cut = room(), data.draw(st.integers(0, len(sent) - 5))
    with pytest.raises(Malformed):
        read([sent[:cut]], FORM, into)
    assert emptied(into.spool)


@given(st.data())
def test_a_damaged_form_is_read_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(form(part(b"f" * 150), part(b"7", name="priority", filename=None), part(b"second")))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        body = read([bytes(damaged)], FORM, room())
    except RequestError as refused:
        assert refused.status in (400, 413)
    else:
        assert 1 <= len(body.inputs) <= 4


def test_too_many_files_are_too_many_inputs() -> None:
    with pytest.raises(TooLarge, match="more than 4 inputs"):
        read([form(*[part(b"x" * 200)] * 5)], FORM, room())
