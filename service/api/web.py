"""The playground at `/`: three static files of service/web, over the public API like any other client."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response

router = APIRouter(include_in_schema=False)

_FOLDER = Path(__file__).resolve().parent.parent / "web"
_HEADERS = {
    # Nothing from elsewhere: the page has to work, and keep what it is shown, in a closed network.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src blob: data:; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@cache
def _read(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()


def _file(name: str, media_type: str) -> Response:
    return Response(_read(name), media_type=media_type, headers=_HEADERS)


@router.get("/")
def home() -> Response:
    """The page."""
    return _file("index.html", "text/html")


@router.get("/playground.js")
def script() -> Response:
    """What it does."""
    return _file("playground.js", "text/javascript")


@router.get("/playground.css")
def style() -> Response:
    """How it looks."""
    return _file("playground.css", "text/css")
