"""HEAD and OPTIONS on every route, and an `Allow` that tells the truth."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ASKED_OF_ROUTES = ("GET", "POST", "PUT", "PATCH", "DELETE")


def allowed(routes: Sequence[BaseRoute], scope: Scope) -> list[str]:
    """The methods that a request's path takes; none if there is no such path."""
    found = [
        method
        for method in _ASKED_OF_ROUTES
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    if not found:
        return []
    return sorted({*found, "OPTIONS", *(["HEAD"] if "GET" in found else [])})


class Methods:
    """Answers HEAD as GET without the body, and OPTIONS with what the path allows. Plain ASGI."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on."""
        method = scope.get("method")
        if method == "OPTIONS" and (names := allowed(scope["app"].routes, scope)):
            headers = [(b"allow", ", ".join(names).encode("ascii"))]
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body"})
        elif method == "HEAD":
            await self._app({**scope, "method": "GET"}, receive, _without_body(send))
        else:
            await self._app(scope, receive, send)


def _without_body(send: Send) -> Send:
    async def bare(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return bare
