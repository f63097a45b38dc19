"""A small HTTP/1.1 client for load: requests made beforehand, connections kept, nothing parsed that isn't needed.

A general client costs more per request than the server under test; this one about 60 us.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, and when: `sent_at` and `finished_at` on the monotonic clock, in seconds."""

    status: int
    body: bytes
    sent_at: float
    finished_at: float


def post(url: str, body: bytes, content_type: str) -> bytes:
    """The bytes of a POST request."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    head = f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Client:
    """Keeps connections to one address; opens another whenever all are busy."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._free: list[Connection] = []

    async def send(self, request: bytes) -> Reply:
        """Send a request and read its response; a connection that broke gives status 0."""
        connection = self._free.pop() if self._free else await self._open()
        sent_at = time.monotonic()
        try:
            status, body = await _exchange(connection, request)
        except (OSError, asyncio.IncompleteReadError):
            connection[1].close()
            return Reply(0, b"", sent_at, time.monotonic())
        self._free.append(connection)
        return Reply(status, body, sent_at, time.monotonic())

    def close(self) -> None:
        """Close what is open."""
        for _, writer in self._free:
            writer.close()
        self._free.clear()

    async def _open(self) -> Connection:
        return await asyncio.open_connection(self._host, self._port)


async def _exchange(connection: Connection, request: bytes) -> tuple[int, bytes]:
    reader, writer = connection
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    marker = head.lower().index(b"content-length:") + len(b"content-length:")
    length = int(head[marker : head.index(b"\r\n", marker)])
    return int(head[9:12]), await reader.readexactly(length)
