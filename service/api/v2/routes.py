"""The protocol over HTTP. Bodies are read raw: its clients send none of the types that a framework would ask for."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from service.api import bodies, callers
from service.api.leaving import unless_gone
from service.api.v2 import diagnostics, documents, inference, messages
from service.core import Caller
from service.engine import Engine
from service.errors import Malformed, NotReady, OfframpError, TooLarge
from service.model import Model
from service.repository import Repository

# Not in /openapi.json: the protocol is its own contract, and docs/v2.md says how far it goes here.
router = APIRouter(prefix="/v2", include_in_schema=False)
_HEADER_LENGTH = "Inference-Header-Content-Length"
_WORTH_PACKING = 1024
"""Bytes of a reply below which packing costs more than it saves."""
_SMALL_BYTES = 1 << 20
_MODEL, _VERSION = "/models/{model}", "/models/{model}/versions/{version}"


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


def _repository(request: Request) -> Repository:
    repository: Repository = request.app.state.repository
    return repository


async def _settings(request: Request) -> dict[str, Any]:
    """A small JSON object as the body."""
    data, _ = await bodies.raw(request, _SMALL_BYTES)
    return messages.json_object(data or b"{}")


async def _told(request: Request) -> dict[str, Any]:
    """The `parameters` of a small JSON body; empty without one."""
    data, _ = await bodies.raw(request, _SMALL_BYTES)
    return messages.parameters(data) if data else {}


def _model(request: Request, model: str, version: str | None) -> Model:
    """The model served under that name, in the version that the client insists on: see `inference.versioned`."""
    return inference.versioned(_engine(request).model(model), version)


@router.get("")
async def server() -> dict[str, Any]:
    """Name, version and extensions."""
    return documents.server()


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """The process lives."""
    return {"live": True}


@router.get("/health/ready")
async def ready(request: Request) -> JSONResponse:
    """200 once the models are loaded, 503 before and while the server drains."""
    is_ready = _engine(request).ready
    return JSONResponse({"ready": is_ready, "live": is_ready}, 200 if is_ready else NotReady.status)


@router.get("/models")
async def models(request: Request) -> dict[str, list[str]]:
    """Names of the models that are ready."""
    return {"models": [one["name"] for one in documents.index(_engine(request)) if one["state"] == "READY"]}


@router.get("/models/stats")
async def all_statistics(request: Request) -> dict[str, Any]:
    """Statistics of every model."""
    return {"model_stats": [documents.statistics(one) for _, one in sorted(_engine(request).models.items())]}


@router.get(f"{_MODEL}/ready")
@router.get(f"{_VERSION}/ready")
async def model_ready(request: Request, model: str, version: str | None = None) -> JSONResponse:
    """200 if the model takes requests, else 503."""
    is_ready = documents.is_ready(_engine(request), model)
    return JSONResponse({"name": model, "ready": is_ready}, 200 if is_ready else NotReady.status)


@router.get(f"{_MODEL}/config")
@router.get(f"{_VERSION}/config")
async def config(request: Request, model: str, version: str | None = None) -> dict[str, Any]:
    """The parts of Triton's model configuration that its tools read."""
    return documents.config(_model(request, model, version), _engine(request).settings.max_inputs)


@router.get(f"{_MODEL}/stats")
@router.get(f"{_VERSION}/stats")
async def statistics(request: Request, model: str, version: str | None = None) -> dict[str, Any]:
    """Counts and times since the start."""
    return {"model_stats": [documents.statistics(_model(request, model, version))]}


@router.get(_MODEL)
@router.get(_VERSION)
async def metadata(request: Request, model: str, version: str | None = None) -> dict[str, Any]:
    """Inputs and outputs of a model."""
    return documents.model(_model(request, model, version))


@router.get("/logging")
async def log_settings() -> dict[str, Any]:
    """What is logged."""
    return diagnostics.log_settings()


@router.post("/logging")
async def change_log(request: Request) -> dict[str, Any]:
    """Log more or less from now on."""
    callers.check_admin(request)
    return diagnostics.change_log(await _settings(request))


@router.get("/trace/setting")
@router.get(f"{_MODEL}/trace/setting")
async def trace_settings(request: Request, model: str | None = None) -> dict[str, Any]:
    """What is traced: nothing."""
    if model is not None:
        _engine(request).model(model)
    return diagnostics.trace_settings()


@router.post("/trace/setting")
@router.post(f"{_MODEL}/trace/setting")
async def change_trace(request: Request, model: str | None = None) -> dict[str, Any]:
    """Takes what leaves tracing off."""
    callers.check_admin(request)
    if model is not None:
        _engine(request).model(model)
    return diagnostics.change_trace(await _settings(request))


@router.post("/repository/index")
async def index(request: Request) -> list[dict[str, str]]:
    """Every package found, with its state."""
    return documents.index(_engine(request))


@router.post("/repository/models/{model}/load")
async def load(request: Request, model: str) -> Response:
    """Serve the package of that name as it lies on disk now: one that appeared, changed, or was unloaded."""
    callers.check_admin(request)
    documents.check_no_override(await _told(request))
    await _repository(request).load(model)
    return JSONResponse({})


@router.post("/repository/models/{model}/unload")
async def unload(request: Request, model: str) -> Response:
    """Take no new work for a model, finish what it has, and free what it held."""
    callers.check_admin(request)
    await _repository(request).unload(model)
    return JSONResponse({})


@router.post(f"{_MODEL}/infer")
@router.post(f"{_VERSION}/infer")
async def infer(request: Request, model: str, version: str | None = None) -> Response:
    """Tensors and a budget in, tensors and a receipt in `parameters` out."""
    engine, chosen = _engine(request), _model(request, model, version)
    try:
        caller = callers.of(request, model)
        data, received_at = await bodies.raw(request, engine.settings.max_body_bytes)
        asked = messages.parse(_unpacked(request, data, engine.settings.max_body_bytes), _header_length(request))
        samples = inference.samples(asked, chosen, engine.settings, received_at, caller)
        inference.check_outputs(asked, chosen)
    except OfframpError as error:
        chosen.telemetry.dropped(error, caller=Caller(request.state.request_id))
        raise
    answers = await unless_gone(request, engine.predict(chosen, samples))
    body, header_length = messages.encode(inference.reply(asked, chosen, answers), asked)
    return _reply(request, body, header_length)


def _header_length(request: Request) -> int | None:
    text = request.headers.get(_HEADER_LENGTH)
    if text is not None and not (text.isascii() and text.isdecimal() and len(text) < 12):
        raise Malformed(f"{_HEADER_LENGTH} must be a whole number")
    return None if text is None else int(text)


def _unpacked(request: Request, data: bytes, limit: int) -> bytes:
    """The body as it was before Content-Encoding, no larger than the limit."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return data
    if encoding not in ("gzip", "deflate"):
        raise Malformed(f"Content-Encoding {encoding[:50]!r} isn't known here; gzip and deflate are")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | (16 if encoding == "gzip" else 0))
    try:
        unpacked = unpacker.decompress(data, limit)
    except zlib.error as error:
        raise Malformed(f"the body is no {encoding}: {error}") from error
    if unpacker.unconsumed_tail:
        raise TooLarge(f"the unpacked body has more than {limit} bytes", limit=limit)
    if not unpacker.eof:
        raise Malformed(f"the body's {encoding} ends early")
    return unpacked


def _reply(request: Request, body: bytes, header_length: int | None) -> Response:
    """Only these replies are packed: the protocol's clients can't unpack others."""
    headers = {} if header_length is None else {_HEADER_LENGTH: str(header_length)}
    accepted = {part.partition(";")[0].strip() for part in request.headers.get("accept-encoding", "").split(",")}
    if len(body) >= _WORTH_PACKING and accepted & {"gzip", "deflate"}:
        name = "gzip" if "gzip" in accepted else "deflate"
        body = gzip.compress(body, compresslevel=1) if name == "gzip" else zlib.compress(body, 1)
        headers["Content-Encoding"] = name
    media_type = "application/json" if header_length is None else "application/octet-stream"
    return Response(body, media_type=media_type, headers=headers)
