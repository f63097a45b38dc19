"""The only place where errors become responses: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from service.api.methods import allowed
from service.api.openapi import PROBLEM
from service.errors import Cancelled, OfframpError, Unauthenticated

log = logging.getLogger(__name__)

_UNAVAILABLE, _METHOD_NOT_ALLOWED = 503, 405
_RETRY_AFTER_S = 1.0
"""For a 503 that can't tell by itself."""


class ProblemResponse(JSONResponse):
    """A problem document, escaped to ASCII: what it quotes of a request may be no valid Unicode."""

    media_type = PROBLEM

    def render(self, content: Any) -> bytes:
        """As JSON."""
        return json.dumps(content, allow_nan=False).encode("ascii")


class _ProtocolError(ProblemResponse):
    """The same under the type that KServe's client wants to see."""

    media_type = "application/json"


def install(app: FastAPI) -> None:
    """Answer every error of the app as a problem."""
    app.add_exception_handler(OfframpError, _ours)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(Exception, _unforeseen)


def problem(
    request: Request, *, status: int, slug: str, title: str, detail: str, extra: Mapping[str, Any] | None = None
) -> JSONResponse:
    """A problem document; `extra` becomes members of its own."""
    body = {"type": f"urn:offramp:error:{slug}", "title": title, "status": status, "detail": detail}
    body["instance"] = request.url.path
    return _response(request.url.path, {**(extra or {}), **body}, status)


def document(path: str, error: OfframpError) -> dict[str, Any]:
    """The members of the problem that an error of ours stands for, on a request to `path`."""
    names = {"title": error.title, "status": error.status, "detail": error.detail, "retryable": error.retryable}
    return {**error.extra, "type": f"urn:offramp:error:{error.slug}", **names, "instance": path}


def of(request: Request, error: OfframpError) -> JSONResponse:
    """An error of ours as a response; 429 and 503 say when to come back."""
    response = _response(request.url.path, document(request.url.path, error), error.status)
    if error.status == _UNAVAILABLE or "retry_after" in error.extra:
        response.headers["Retry-After"] = retry_after(error.extra.get("retry_after", _RETRY_AFTER_S))
    if isinstance(error, Unauthenticated):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def response(request: Request, error: Exception) -> Response:
    """Any error as a response, where no framework stands between."""
    if isinstance(error, OfframpError):
        return await _ours(request, error)
    return await (_framework if isinstance(error, HTTPException) else _unforeseen)(request, error)


def _response(path: str, members: dict[str, Any], status: int) -> JSONResponse:
    """On /v2 the member `error` in plain JSON: what the protocol's clients look for."""
    if re.match(r"/v2(/|$)", path):
        return _ProtocolError({"error": members["detail"], **members}, status)
    return ProblemResponse(members, status)


def retry_after(seconds: float = _RETRY_AFTER_S) -> str:
    """As the header has it: whole seconds, at least one."""
    return str(max(1, math.ceil(seconds)))


async def _ours(request: Request, error: Exception) -> Response:
    if isinstance(error, Cancelled):
        # Nobody reads it; an empty response ends the exchange for the server.
        return Response(status_code=error.status)
    if not isinstance(error, OfframpError):
        raise error
    return of(request, error)


async def _framework(request: Request, error: Exception) -> Response:
    """404, 405 and the like, raised by the framework."""
    if not isinstance(error, HTTPException):
        raise error
    slug = error.detail.lower().replace(" ", "-")
    response = problem(
        request, status=error.status_code, slug=slug, title=error.detail, detail=f"{request.method} {request.url.path}"
    )
    response.headers.update(error.headers or {})
    if error.status_code == _METHOD_NOT_ALLOWED:
        response.headers["Allow"] = ", ".join(allowed(request.app.routes, request.scope))
    return response


async def _validation(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    said = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors())
    return problem(request, status=400, slug="malformed", title="Malformed request", detail=said)


async def _unforeseen(request: Request, error: Exception) -> Response:
    fields = {"request_id": request.state.request_id}
    log.error("unforeseen error on %s", request.url.path, exc_info=error, extra={"fields": fields})
    detail = "an error that nobody foresaw; the log has it"
    response = problem(request, status=500, slug="internal", title="Internal error", detail=detail)
    # The framework answers this one from outside the middleware that tags all others.
    response.headers["X-Request-Id"] = request.state.request_id
    return response
