"""The only place where errors become responses: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import logging
import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from service.errors import Cancelled, OfframpError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


def install(app: FastAPI) -> None:
    """Answer every error of the app as a problem."""
    app.add_exception_handler(OfframpError, _ours)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(Exception, _unforeseen)


def problem(request: Request, *, status: int, slug: str, title: str, detail: str, **extra: Any) -> JSONResponse:
    """A problem document; `extra` becomes members of its own."""
    body = {"type": f"urn:offramp:error:{slug}", "title": title, "status": status, "detail": detail}
    body["instance"] = request.url.path
    return JSONResponse({**extra, **body}, status, media_type=MEDIA_TYPE)


def of(request: Request, error: OfframpError) -> JSONResponse:
    """The problem that an error of ours stands for; with Retry-After where it knows one."""
    extra = dict(error.extra)
    response = problem(
        request,
        status=error.status,
        slug=error.slug,
        title=error.title,
        detail=error.detail,
        retryable=error.retryable,
        **extra,
    )
    if "retry_after" in extra:
        response.headers["Retry-After"] = str(max(1, math.ceil(extra["retry_after"])))
    return response


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
    return response


async def _validation(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    said = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors())
    return problem(request, status=400, slug="malformed", title="Malformed request", detail=said)


async def _unforeseen(request: Request, error: Exception) -> Response:
    log.error("unforeseen error on %s", request.url.path, exc_info=error)
    detail = "an error that nobody foresaw; the log has it"
    return problem(request, status=500, slug="internal", title="Internal error", detail=detail)
