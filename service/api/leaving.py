"""Clients that leave: to notice a closed connection, and to stop the work that was for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request

from service.errors import Cancelled

Result = TypeVar("Result")
STATE = "exchange"
"""Where in a request's state its `Exchange` is, if the door made one."""


@dataclass(slots=True)
class Exchange:
    """What the door knows of one request that the framework has no words for. Owned by its connection.

    Attributes:
        received_at: when its last byte had reached this machine, in seconds of the monotonic clock; None before.
        judged: the door knew all of its budget and let it in.
        gone: the client closed the connection before it had its answer.
        on_leave: called once when that happens.
    """

    received_at: float | None = None
    judged: bool = False
    gone: bool = False
    on_leave: Callable[[], object] | None = None

    def left(self) -> bool:
        """Whether the client has gone; a method, since that changes while a handler waits."""
        return self.gone

    def leave(self) -> None:
        """The client has gone."""
        self.gone = True
        if self.on_leave is not None:
            self.on_leave()


def exchange(request: Request) -> Exchange | None:
    """The door's view of a request; None under another server."""
    found: Exchange | None = request.scope.get("state", {}).get(STATE)
    return found


async def unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of the work, which is cancelled when the client closes the connection.

    Raises:
        Cancelled: the client has gone.
    """
    known = exchange(request)
    return await (_watched(request, work) if known is None else _told(known, work))


async def _told(known: Exchange, work: Coroutine[Any, Any, Result]) -> Result:
    """The door cancels the handler itself: no task more, and nothing to wait for beside the work."""
    handler = asyncio.current_task()
    assert handler is not None, "handlers run as tasks"
    if known.left():
        work.close()
        raise Cancelled("the client closed the connection")
    known.on_leave = handler.cancel
    try:
        return await work
    except asyncio.CancelledError:
        if not known.left():
            raise
        handler.uncancel()
        raise Cancelled("the client closed the connection") from None
    finally:
        known.on_leave = None


async def _watched(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Cancelled("the client closed the connection")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def gone(request: Request) -> None:
    """Return when the client closes the connection, or has its whole response."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
