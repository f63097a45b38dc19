"""`POST /v1/models/{model}/predict` and `POST /v1/predict`: bytes and a budget in, an answer with its receipt out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from service.answer import Answer
from service.api import bodies, budgets, render
from service.api.bodies import Body, Input
from service.api.openapi import PREDICT
from service.core import Budget
from service.engine import Engine, Sample
from service.errors import Cancelled, Malformed, UnsupportedMedia
from service.media.base import declared, sniff
from service.media.image import ImageLimits
from service.media.source import open_source
from service.model import Model

router = APIRouter(tags=["predict"])
Result = TypeVar("Result")

_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@router.post("/v1/models/{model}/predict", summary="Predict with one model", **PREDICT)
async def predict(request: Request, model: str) -> JSONResponse:
    """Send an input to a model; the budget may be in the query, in `Offramp-*` headers, in form fields or in JSON."""
    engine: Engine = request.app.state.engine
    chosen = engine.model(model)
    return await _answer(request, engine, await _read(request, engine), chosen)


@router.post("/v1/predict", summary="Predict with the default model of the input's modality", **PREDICT)
async def predict_default(request: Request) -> JSONResponse:
    """As with one model; the model is the first that reads what the body is."""
    engine: Engine = request.app.state.engine
    body = await _read(request, engine)
    return await _answer(request, engine, body, engine.default(_modality(body.inputs[0])))


async def _read(request: Request, engine: Engine) -> Body:
    settings = engine.settings
    return await bodies.read(request, max_bytes=settings.max_body_bytes, max_inputs=settings.max_inputs)


async def _answer(request: Request, engine: Engine, body: Body, model: Model) -> JSONResponse:
    arrived_at = time.monotonic()
    budget = _budget(request, body)
    explain = body.explain or _explain(request)
    opened = (partial(_open, model, given, engine) for given in body.inputs)
    samples = [Sample(open, budget, arrived_at, explain) for open in opened]
    answers = await _unless_gone(request, engine.predict(model, samples))
    shown = [render.answer(answer) for answer in answers]
    content = shown[0] if len(shown) == 1 else {"answers": shown}
    return JSONResponse(content, headers={"Server-Timing": _server_timing(answers)})


def _budget(request: Request, body: Body) -> Budget:
    query = budgets.from_texts(request.query_params.multi_items(), source="the query", others=frozenset({"explain"}))
    return budgets.merge(budgets.from_headers(request.headers), query, body.budget).budget()


def _explain(request: Request) -> bool:
    text = request.query_params.get("explain", "false").lower()
    if text not in _FLAGS:
        raise Malformed(f"explain={text[:100]!r} is neither true nor false", key="explain")
    return _FLAGS[text]


def _open(model: Model, given: Input, engine: Engine) -> Any:
    modality = model.package.manifest.modality
    if given.modality not in (None, modality):
        raise UnsupportedMedia(f"{model.name} reads {modality}, not {given.modality}")
    limits = ImageLimits(max_bytes=engine.settings.max_body_bytes, max_pixels=engine.settings.max_pixels)
    return open_source(modality, given.data, given.content_type, limits)


def _modality(given: Input) -> str:
    """What an input is: by JSON key, by Content-Type, else by its first bytes."""
    kind = given.modality or declared(given.content_type) or sniff(given.data) or "bytes of no known kind"
    return kind.partition("/")[0]


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of the work, which is cancelled when the client closes the connection.

    Raises:
        Cancelled: the client has gone.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Cancelled("the client closed the connection")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _server_timing(answers: Sequence[Answer]) -> str:
    """The slowest answer's times, as browsers show them."""
    slowest = max(answers, key=lambda answer: answer.seconds)
    return ", ".join(f"{name};dur={ms:g}" for name, ms in render.timing(slowest).items())
