"""The front: the predict routes go straight to their handlers, everything else to the framework.

The framework's way to a handler (its own middlewares, routing, dependencies) costs as much as the handler. The routes
stand in the framework too, for the schema and for what it answers about them (HEAD, OPTIONS, 405).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from starlette.types import Receive, Scope, Send

from service.admission import urgency
from service.api import predict, problems
from service.api.budgets import HEADER_PREFIX
from service.api.request_id import RequestId
from service.core import ASK_NOTHING
from service.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterable

_PREDICT = re.compile(r"/v1/(?:models/([^/]+)/)?predict")
_TARGET = re.compile(rb"/v1/models/([A-Za-z0-9._-]+)/predict(?:\?(.*))?")
_BUDGET = re.compile(rb"(?:^|&)(latency_ms|priority)=(\d{1,9}(?:\.\d{1,9})?)(?=&|$)")
_HEADERS = {f"{HEADER_PREFIX}{name.replace('_', '-')}".encode(): name for name in ("latency_ms", "priority")}
_NUMBER = re.compile(rb"\d{1,9}(?:\.\d{1,9})?")
_ONE_INPUT = b"image/"
_SMALL_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Asking:
    """What the door needs of a request to let it wait its turn: read from its head alone.

    Attributes:
        one_input: the body is one small input as it is, so the head tells all of the budget.
    """

    model: str
    patience_s: float
    priority: int
    one_input: bool

    def urgency_at(self, now: float) -> float:
        """Its place among the others, were it to come now."""
        return urgency(now, self.patience_s, self.priority)


class Front:
    """The application as the server sees it (ASGI)."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self.engine: Engine = app.state.engine
        self._predict = RequestId(self._respond)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a prediction, pass on anything else."""
        found = _PREDICT.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        scope["app"], scope["path_params"] = self._app, {"model": found[1]}
        await self._predict(scope, receive, send)

    def asking(self, method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Asking | None:
        """What a request asks of a model that is served; None if it is none, or one that only its handler can judge."""
        found = _TARGET.fullmatch(target) if method == b"POST" and self.engine.ready else None
        name = found[1].decode("ascii") if found else ""
        if found is None or name not in self.engine.models or name in self.engine.withdrawn:
            return None
        asked, kind, size = dict(_BUDGET.findall(found[2] or b"")), b"", b""
        budget = {key.decode("ascii"): float(value) for key, value in asked.items()}
        for header, value in headers:
            if header == b"content-type":
                kind = value
            elif header == b"content-length":
                size = value
            elif header in _HEADERS and _NUMBER.fullmatch(value):
                budget[_HEADERS[header]] = float(value)
        default_ms = self.engine.settings.default_deadline_ms
        return Asking(
            model=name,
            patience_s=budget.get("latency_ms", default_ms) / 1e3,
            priority=int(budget.get("priority", ASK_NOTHING.priority)),
            one_input=kind.startswith(_ONE_INPUT) and size.isdigit() and len(size) < 9 and int(size) <= _SMALL_BYTES,
        )

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, model = Request(scope, receive), scope["path_params"]["model"]
        try:
            handled = predict.predict(request, model) if model else predict.predict_default(request)
            response = await handled
        except Exception as error:
            response = await problems.response(request, error)
        await response(scope, receive, send)
