"""A request's body as inputs: raw bytes, multipart files or JSON with base64, within limits and not decoded yet.

Bodies are held in memory, but for those that may bring a video: they go to a file as they come, once they are large.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from service.api import budgets, forms
from service.api.leaving import exchange
from service.errors import Cancelled, Malformed, TooLarge
from service.media.base import declared
from service.media.uploads import Payload, Spool, Writer

_BASE64_KEYS = {"image_base64": "image", "video_base64": "video"}
_INPUT_KEYS = {*_BASE64_KEYS, "text"}
_MAX_VALUES = 10_000
"""Most values in a JSON body; a value of three bytes would become an object of a hundred."""
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Input:
    """Bytes to be opened as `content_type`, which may be None. `modality` is what JSON said they are, or None."""

    data: Payload
    content_type: str | None
    modality: str | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """Where a body may go that brings a video, and how large it may be."""

    spool: Spool
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Body:
    """Inputs of a request and the budget keys that came with them."""

    inputs: list[Input]
    budget: dict[str, Any] = field(default_factory=dict)
    explain: bool = False
    received_at: float = 0.0
    """When the last byte had come to this machine, in seconds of the monotonic clock: deadlines count from here."""


async def read(request: Request, *, max_bytes: int, max_inputs: int, room: Room | None = None) -> Body:
    """Read and take apart a body. With `room`, bytes and forms go there as they come; JSON never does.

    Raises:
        TooLarge: more bytes or inputs than allowed; noticed before the rest is read.
        Malformed: multipart or JSON that can't be read, or no input in it.
        Overloaded: no room on disk.
        Cancelled: the client left before the end.
    """
    content_type = request.headers.get("content-type")
    kind = declared(content_type)
    if room is not None and kind != "application/json":
        body = await _streamed(request, kind, max_inputs, room)
    else:
        body = await _held(request, kind, max_bytes, max_inputs)
    if not body.inputs:
        raise Malformed("the request has no input")
    if len(body.inputs) > max_inputs:
        raise TooLarge(f"{len(body.inputs)} inputs; at most {max_inputs} are taken", limit=max_inputs)
    return replace(body, received_at=_received_at(request))


async def _held(request: Request, kind: str | None, max_bytes: int, max_inputs: int) -> Body:
    data, _ = await raw(request, max_bytes)
    if kind == "multipart/form-data":
        return _of_form(await forms.parse(request.headers, _once(data), max_files=max_inputs))
    return _json(data) if kind == "application/json" else Body([Input(data, request.headers.get("content-type"))])


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _streamed(request: Request, kind: str | None, max_inputs: int, room: Room) -> Body:
    try:
        chunks = _chunks(request, room.max_bytes)
        if kind == "multipart/form-data":
            return _of_form(await forms.parse(request.headers, chunks, max_files=max_inputs, spool=room.spool))
        return Body([Input(await _payload(chunks, room.spool), request.headers.get("content-type"))])
    except ClientDisconnect as error:
        raise Cancelled("the client closed the connection before the body's end") from error


async def _payload(chunks: AsyncIterator[bytes], spool: Spool) -> Payload:
    writer = Writer(spool)
    try:
        async for chunk in chunks:
            if writer.spills(chunk):
                await asyncio.to_thread(writer.write, chunk)
            else:
                writer.write(chunk)
        return writer.finish()
    finally:
        writer.abandon()


def _of_form(form: forms.Form) -> Body:
    explain = budgets.flag([text for key, text in form.fields if key == "explain"], source="a form field")
    budget = budgets.from_texts(form.fields, source="a form field", others=frozenset({"explain"}))
    return Body([Input(data, kind) for data, kind in form.files], budget, explain)


def _received_at(request: Request) -> float:
    known = exchange(request)
    return time.monotonic() if known is None or known.received_at is None else known.received_at


async def raw(request: Request, max_bytes: int) -> tuple[bytes, float]:
    """A body as it is, and when its last byte had come.

    Raises:
        TooLarge: more bytes than allowed.
        Cancelled: the client left before the end.
    """
    try:
        data = await _bytes(request, max_bytes)
    except ClientDisconnect as error:
        raise Cancelled("the client closed the connection before the body's end") from error
    return data, _received_at(request)


async def _bytes(request: Request, limit: int) -> bytes:
    return b"".join([chunk async for chunk in _chunks(request, limit)])


async def _chunks(request: Request, limit: int) -> AsyncIterator[bytes]:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise TooLarge(f"the body has {announced} bytes; at most {limit} are taken", limit=limit)
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"the body has more than {limit} bytes", limit=limit)
        yield chunk


def _json(data: bytes) -> Body:
    _check_values(data)
    try:
        document = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"JSON body can't be read: {error}") from error
    if not isinstance(document, dict):
        raise Malformed("the JSON body must be an object with 'inputs'")
    unknown = sorted(set(document) - {"inputs", "budget", "explain"})
    if unknown:
        key = unknown[0][:100]
        raise Malformed(f"unknown key {key!r}; known are 'inputs', 'budget' and 'explain'", key=key)
    inputs, budget = document.get("inputs"), document.get("budget", {})
    explain = document.get("explain", False)
    if not isinstance(inputs, list) or not isinstance(budget, dict) or not isinstance(explain, bool):
        raise Malformed("'inputs' must be a list, 'budget' an object and 'explain' true or false")
    return Body([_input(place, item) for place, item in enumerate(inputs)], budget, explain)


def _check_values(data: bytes) -> None:
    """Refuse a document of very many values before memory is taken for them; commas within strings are no values."""
    if _marks(data) > _MAX_VALUES and _marks(_STRING.sub(b"", data)) > _MAX_VALUES:
        raise Malformed(f"the JSON body has more than {_MAX_VALUES} values")


def _marks(data: bytes) -> int:
    return data.count(b",") + data.count(b"{") + data.count(b"[")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice[:100]!r} stands twice in one object")
    return found


def _input(place: int, item: Any) -> Input:
    if not isinstance(item, dict) or len(item) != 1 or not set(item) <= _INPUT_KEYS:
        raise Malformed(f"inputs[{place}] must be an object with one of {sorted(_INPUT_KEYS)}")
    ((key, value),) = item.items()
    if not isinstance(value, str):
        raise Malformed(f"inputs[{place}].{key} must be a string")
    if key == "text":
        return Input(value.encode("utf-8", "surrogatepass"), "text/plain", "text")
    try:
        return Input(base64.b64decode(value, validate=True), None, _BASE64_KEYS[key])
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"inputs[{place}].{key} is no base64: {error}") from error
