"""The bytes of an input: in memory, or on disk where they are too many to be held.

An upload on disk is a file without a name. Nothing else can open it, and it is gone with the last who may read it: a
handler, a walk, an audit that goes on after the answer. Nobody has to know who that is.
"""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from io import SEEK_CUR, SEEK_END, SEEK_SET, BytesIO
from typing import Protocol

from service.errors import Overloaded

_HEAD_BYTES = 1024
_RETRY_AFTER_S = 2.0


class Upload:
    """Bytes on disk. Any number of threads may read them, each by its own `reader`.

    There is no `close`: the number of a closed file may soon be that of another, and somebody could still be reading.
    """

    __slots__ = ("__weakref__", "_descriptor", "size")

    def __init__(self, descriptor: int, size: int, share: Share) -> None:
        """Takes over the descriptor, and the share of the spool that the file fills."""
        self._descriptor, self.size = descriptor, size
        weakref.finalize(self, _let_go, descriptor, share)

    def __len__(self) -> int:
        return self.size

    def at(self, start: int, count: int) -> bytes:
        """Up to `count` bytes from `start`."""
        return os.pread(self._descriptor, count, start)


def _let_go(descriptor: int, share: Share) -> None:
    os.close(descriptor)
    share.give_back()


Payload = bytes | Upload
"""What an input's bytes are held as."""


class Readable(Protocol):
    """As much of a binary file as demuxers ask for."""

    def read(self, count: int = -1, /) -> bytes:
        """Up to `count` bytes."""

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        """Go to a place; returns it."""

    def tell(self) -> int:
        """The place."""


class _Reader:
    """A place in an upload; keeps it open."""

    def __init__(self, upload: Upload) -> None:
        self._upload, self._at = upload, 0

    def read(self, count: int = -1, /) -> bytes:
        """See Readable."""
        left = max(0, self._upload.size - self._at)
        found = self._upload.at(self._at, left if count < 0 else min(count, left))
        self._at += len(found)
        return found

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        """See Readable."""
        start = {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._upload.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        """See Readable."""
        return self._at


def reader(data: Payload) -> Readable:
    """A reader of its own, at the first byte."""
    return _Reader(data) if isinstance(data, Upload) else BytesIO(data)


def head(data: Payload) -> bytes:
    """The first KiB: as much as it takes to tell what the bytes are."""
    return data.at(0, _HEAD_BYTES) if isinstance(data, Upload) else data[:_HEAD_BYTES]


def whole(data: Payload) -> bytes:
    """All bytes, in memory."""
    return data.at(0, data.size) if isinstance(data, Upload) else data


class Spool:
    """The room on disk for uploads, and how large one may be before it goes there."""

    def __init__(self, max_bytes: int, in_memory_bytes: int) -> None:
        self.max_bytes, self.in_memory_bytes = max_bytes, in_memory_bytes
        self.used = 0
        self._lock = threading.RLock()  # a collection of garbage may let an upload go while this very thread holds it

    def take(self, count: int) -> None:
        """Room for that many bytes.

        Raises:
            Overloaded: other uploads fill it.
        """
        with self._lock:
            if self.used + count > self.max_bytes:
                raise Overloaded("the room for uploads is full", retry_after=_RETRY_AFTER_S)
            self.used += count

    def give_back(self, count: int) -> None:
        """That many bytes are free again."""
        with self._lock:
            self.used -= count


class Share:
    """Room that one upload takes as it grows, and gives back once."""

    def __init__(self, spool: Spool) -> None:
        self._spool, self.taken = spool, 0

    def take(self, count: int) -> None:
        """See Spool.take."""
        self._spool.take(count)
        self.taken += count

    def split(self, count: int) -> Share:
        """A share of its own for one of several files, out of this one."""
        part = Share(self._spool)
        part.taken = min(count, self.taken)
        self.taken -= part.taken
        return part

    def give_back(self) -> None:
        """All of it."""
        self._spool.give_back(self.taken)
        self.taken = 0


class Writer:
    """Takes an upload in as it comes: to memory, then, once it is too large for that, to a file.

    A `write` that `spills` touches the disk and belongs off the event loop.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool, self._share = spool, Share(spool)
        self._chunks: list[bytes] = []
        self._descriptor = -1
        self._lock = threading.Lock()
        self._abandoned = False
        self.size = 0

    def spills(self, chunk: bytes) -> bool:
        """Whether writing this chunk would touch the disk."""
        return self._descriptor >= 0 or self.size + len(chunk) > self._spool.in_memory_bytes

    def write(self, chunk: bytes) -> None:
        """Append.

        Raises:
            Overloaded: no room on disk.
        """
        # A request that is cancelled abandons its writer while a thread may be writing still.
        with self._lock:
            if self._abandoned:
                return
            spills = self.spills(chunk)
            self._chunks.append(chunk)
            self.size += len(chunk)
            if spills:
                self._spill()

    def _spill(self) -> None:
        pending, self._chunks = b"".join(self._chunks), []
        self._share.take(len(pending))
        if self._descriptor < 0:
            self._descriptor = _nameless()
        view = memoryview(pending)
        while view:
            view = view[_written(self._descriptor, view) :]

    def finish(self) -> Payload:
        """What was written. The writer is empty then."""
        if self._descriptor < 0:
            data, self._chunks = b"".join(self._chunks), []
            return data
        descriptor, self._descriptor = self._descriptor, -1
        return Upload(descriptor, self.size, self._share)

    def abandon(self) -> None:
        """Nobody wants it: the file goes. Does nothing once it is finished."""
        with self._lock:
            self._abandoned, self._chunks = True, []
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
                self._share.give_back()


def _written(descriptor: int, view: memoryview) -> int:
    try:
        return os.write(descriptor, view)
    except OSError as error:  # the disk is smaller than the spool believes
        raise Overloaded(f"the disk for uploads takes no more: {error.strerror}", retry_after=_RETRY_AFTER_S) from error


def _nameless() -> int:
    """Descriptor of a file without a name in the system's folder for temporary files (TMPDIR)."""
    try:
        with tempfile.TemporaryFile(buffering=0) as file:
            return os.dup(file.fileno())
    except OSError as error:
        raise Overloaded(f"there is no folder for uploads: {error.strerror}", retry_after=_RETRY_AFTER_S) from error
