"""Uploads: in memory while small, else in a file without a name that goes with its last reader."""

from __future__ import annotations

import gc
import os
from concurrent.futures import ThreadPoolExecutor
from io import SEEK_CUR, SEEK_END
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Overloaded
from service.media.uploads import Payload, Share, Spool, Upload, Writer, head, reader, whole

ROOM = 10_000


def written(spool: Spool, *chunks: bytes) -> Payload:
    writer = Writer(spool)
    for chunk in chunks:
        writer.write(chunk)
    return writer.finish()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(0, 100))
def test_what_is_written_is_read(chunks: list[bytes], in_memory: int) -> None:
    data = written(Spool(ROOM, in_memory), *chunks)
    assert whole(data) == b"".join(chunks)
    assert len(data) == len(b"".join(chunks))
    assert isinstance(data, Upload) == (len(data) > in_memory)
    assert head(data) == b"".join(chunks)


@given(st.lists(st.tuples(st.integers(-5, 130), st.sampled_from([0, SEEK_CUR, SEEK_END]), st.integers(-1, 70))))
def test_a_reader_is_like_a_file(moves: list[tuple[int, int, int]]) -> None:
    content = bytes(range(100))
    ours, file = reader(written(Spool(ROOM, 10), content)), reader(content)
    for offset, whence, count in moves:
        if offset + {0: 0, SEEK_CUR: file.tell(), SEEK_END: 100}[whence] < 0:
            continue
        assert ours.seek(offset, whence) == file.seek(offset, whence)
        assert ours.read(count) == file.read(count)
        assert ours.tell() == file.tell()


def test_the_head_of_a_large_one_is_a_kilobyte() -> None:
    content = os.urandom(5_000)
    for data in (content, written(Spool(ROOM, 10), content)):
        assert head(data) == content[:1024]


def test_readers_don_t_disturb_each_other() -> None:
    content = os.urandom(9_000)
    upload = written(Spool(ROOM, 10), content)

    def read(_: int) -> bytes:
        file = reader(upload)
        return b"".join(file.read(7) for _ in range(9_000 // 7 + 1))

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(read, range(8))) == {content}


def test_the_file_has_no_name_and_goes_with_its_last_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spool, before = Spool(ROOM, 10), open_files()
    upload: Payload | None = written(spool, b"x" * 100)
    assert list(tmp_path.iterdir()) == []
    assert (open_files(), spool.used) == (before + 1, 100)
    last = reader(upload) if upload else None
    upload = None
    gc.collect()
    assert last is not None
    assert last.read() == b"x" * 100
    last = None
    gc.collect()
    assert (open_files(), spool.used) == (before, 0)


def test_all_uploads_together_have_a_limit() -> None:
    spool = Spool(250, 10)
    first, second = written(spool, b"x" * 100), written(spool, b"x" * 100)
    writer = Writer(spool)
    writer.write(b"x" * 40)
    with pytest.raises(Overloaded, match="full") as refused:
        writer.write(b"x" * 20)
    assert refused.value.retry_after > 0
    writer.abandon()
    assert spool.used == 200
    del first, second
    gc.collect()
    assert written(spool, b"x" * 200)


def test_what_is_abandoned_leaves_nothing() -> None:
    spool, before = Spool(ROOM, 10), open_files()
    writer = Writer(spool)
    writer.write(b"x" * 100)
    writer.abandon()
    writer.write(b"a thread that was late")
    writer.abandon()
    assert (open_files(), spool.used) == (before, 0)


def test_a_finished_writer_abandons_nothing() -> None:
    spool = Spool(ROOM, 10)
    writer = Writer(spool)
    writer.write(b"x" * 100)
    upload = writer.finish()
    writer.abandon()
    assert whole(upload) == b"x" * 100


def test_it_tells_when_it_would_touch_the_disk() -> None:
    writer = Writer(Spool(ROOM, 10))
    assert not writer.spills(b"x" * 10)
    assert writer.spills(b"x" * 11)
    writer.write(b"x" * 10)
    assert writer.spills(b"x")


def test_a_disk_that_fails_is_no_fault_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", no_space)
    with pytest.raises(Overloaded, match="No space left"):
        written(Spool(ROOM, 10), b"x" * 100)


def test_a_folder_that_is_missing_is_no_fault_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    with pytest.raises(Overloaded, match="no folder"):
        written(Spool(ROOM, 10), b"x" * 100)


def test_a_share_is_split_among_files_and_given_back_once() -> None:
    spool = Spool(ROOM, 10)
    share = Share(spool)
    share.take(100)
    part = share.split(60)
    assert (part.taken, share.taken, spool.used) == (60, 40, 100)
    share.give_back()
    share.give_back()
    assert spool.used == 60
    part.give_back()
    assert spool.used == 0
