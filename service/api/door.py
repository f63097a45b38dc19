"""The door: uvicorn's connection, which turns requests away before anything is spent on them.

A refusal here costs a twentieth of an answer, and goes out when the bytes are read, not when a handler's turn comes.
The door also knows what no handler can: when the bytes had come, and at once when a client leaves.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
import time
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.api import problems
from service.api.front import Asking, Front
from service.api.leaving import STATE, Exchange
from service.api.openapi import PROBLEM
from service.api.plain import plain
from service.api.request_id import choose
from service.core import Caller
from service.errors import Overloaded
from service.turnstile import Pass

_LAST_DATA_RECEIVED = struct.Struct("@52xI")
"""`tcpi_last_data_recv` in Linux' tcp_info: milliseconds since the connection's last data came."""


class Door(HttpToolsProtocol):
    """One connection. The application must be a `Front`."""

    _asking: Asking | None = None
    _inside: Pass | None = None
    _refusal: Overloaded | None = None
    _arriving: Exchange | None = None
    """Of the request that is being read; None if it waits behind another of its connection."""
    _served: Exchange | None = None
    """Of the request that is being answered."""
    _request_id = ""
    """Of the request that is turned away."""
    _between = True
    """Whether the parser stands between two requests."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Of asyncio's protocol."""
        super().connection_made(transport)
        self._front = cast(Front, self.config.app)
        self._socket = transport.get_extra_info("socket")

    def connection_lost(self, exc: Exception | None) -> None:
        """Of asyncio's protocol."""
        super().connection_lost(exc)
        self._leave()
        if self._served is not None:
            self._served.leave()
            self._served = None

    def data_received(self, data: bytes) -> None:
        """Of asyncio's protocol."""
        whole = plain(data) if self._between and self._front.engine.turnstile.crowded and self._idle() else None
        if whole is not None:
            asking = self._front.asking(b"POST", whole.target, whole.headers)
            refusal = self._refuse(asking, whole.headers)
            if refusal is not None:
                self._turn_away(refusal, whole.target, keep_alive=True)
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Of the parser: a request begins."""
        self._between = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Of the parser: the head of a request is there."""
        self._asking = self._refusal = self._arriving = None
        if self._idle():
            self._asking = self._front.asking(self.parser.get_method(), self.url, self.headers)
            judged = self._asking is not None and self._asking.one_input and not self.expect_100_continue
            self._refusal = self._refuse(self._asking, self.headers) if judged else None
            if self._refusal is not None:
                return
            self._served = self._arriving = self.scope["state"][STATE] = Exchange(judged=judged)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Of the parser: a part of the body."""
        if self._refusal is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Of the parser: the request is there to its last byte."""
        self._between = True
        if self._refusal is not None:
            self._turn_away(self._refusal, self.url, keep_alive=self.parser.should_keep_alive())
            return
        if self._arriving is not None:
            now = time.monotonic()
            self._arriving.received_at = now - _waited_s(self._socket)
            if self._asking is not None and not self.cycle.response_complete:
                urgency_at = self._asking.urgency_at(self._arriving.received_at)
                self._inside = self._front.engine.turnstile.enter(self._asking.model, urgency_at)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Of the exchange: the response is written."""
        self._leave()
        self._served = None
        super().on_response_complete()

    def _idle(self) -> bool:
        """Whether no earlier request of this connection is still being answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _refuse(self, asking: Asking | None, headers: list[tuple[bytes, bytes]]) -> Overloaded | None:
        """Why a request can't come in; None if it may, or if only its handler can tell."""
        if asking is None or not asking.one_input:
            return None
        received_at = time.monotonic() - _waited_s(self._socket)
        urgency_at = asking.urgency_at(received_at)

        def caller() -> Caller:
            given = next((value for name, value in headers if name == b"x-request-id"), b"")
            self._request_id = choose(given.decode("latin-1"))
            return Caller(self._request_id)

        return self._front.engine.crowded(asking.model, urgency_at, received_at, asking.patience_s, caller)

    def _turn_away(self, refusal: Overloaded, target: bytes, *, keep_alive: bool) -> None:
        path = target.partition(b"?")[0].decode("ascii")
        body = json.dumps(problems.document(path, refusal)).encode("ascii")
        headers = [
            *self.server_state.default_headers,
            (b"content-type", PROBLEM.encode("ascii")),
            (b"content-length", b"%d" % len(body)),
            (b"retry-after", problems.retry_after(refusal.retry_after).encode("ascii")),
            (b"x-request-id", self._request_id.encode("ascii")),
            *([] if keep_alive else [(b"connection", b"close")]),
        ]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 %d Service Unavailable\r\n%b\r\n%b" % (refusal.status, lines, body))
        if self.access_log:
            self.access_logger.info('%s - "POST %s" %d', self.client, path, refusal.status)
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _leave(self) -> None:
        if self._inside is not None:
            self._front.engine.turnstile.leave(self._inside)
            self._inside = None


def _waited_s(connection: Any) -> float:
    """Seconds that the last bytes had lain in the socket, to the kernel's tick; 0 where nobody can tell."""
    if sys.platform != "linux":
        return 0.0
    try:
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECEIVED.size)
    except (OSError, AttributeError):  # a Unix socket, or one that is closed
        return 0.0
    return float(_LAST_DATA_RECEIVED.unpack(told)[0]) / 1e3 if len(told) == _LAST_DATA_RECEIVED.size else 0.0
