"""`X-Request-Id` on every response: the client's own where it is sane, else a new one."""

from __future__ import annotations

import re
import uuid
from itertools import count

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_PROCESS = uuid.uuid4().hex[:20]
_NUMBER = count()


def choose(given: str) -> str:
    """The id of a request that came with `given`, which may be empty.

    A new one is the process's random part and a number: a system call for random bytes a request would also hand the
    interpreter to another thread, a request.
    """
    return given if _SANE.fullmatch(given) else f"{_PROCESS}{next(_NUMBER):012x}"


class RequestId:
    """Tags responses. Plain ASGI: the framework's middleware base class would hide a client's leaving from handlers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, adding the header to the response's start."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        chosen = choose(given.decode("latin-1"))
        scope.setdefault("state", {})["request_id"] = chosen

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = chosen
            await send(message)

        await self._app(scope, receive, tagged)
