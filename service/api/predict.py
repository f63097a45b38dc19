"""`POST /v1/models/{model}/predict` and `POST /v1/predict`: bytes and a budget in, an answer with its receipt out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, get_args

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from service.answer import Answer
from service.api import bodies, budgets, callers, render, stream
from service.api.bodies import Body, Input, Room
from service.api.leaving import exchange, unless_gone
from service.api.openapi import PREDICT
from service.core import Budget, Caller
from service.engine import Engine, Sample
from service.errors import Malformed, OfframpError, UnknownModel, UnsupportedMedia
from service.media.base import declared, sniff
from service.media.uploads import head
from service.model import Model, limits
from service.settings import Settings
from service.task.base import MapForm

router = APIRouter(tags=["predict"])
Result = TypeVar("Result")
_OTHERS = frozenset({"explain", "map"})
_FORMS: tuple[MapForm, ...] = get_args(MapForm)
_VIDEO = "video"
_LIGHT_BYTES = 4096
"""No more bytes than this are opened on the event loop; larger hostile ones could hold it up."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was read: inputs, not opened yet, and what is wanted of each."""

    body: Body
    budget: Budget
    explain: bool
    caller: Caller
    form: MapForm = "runs"
    judged: bool = False
    """The door let it in, knowing all of its budget."""

    def samples(self, model: Model, settings: Settings) -> list[Sample]:
        """As the engine takes them."""
        opened = (partial(_open, model, given, settings) for given in self.body.inputs)
        at, explain, judged = self.body.received_at, self.explain, self.judged
        most = 0 if model.package.manifest.modality == _VIDEO else _LIGHT_BYTES
        return [
            Sample(open, self.budget, at, explain, caller=self.caller, light=len(given.data) <= most, judged=judged)
            for open, given in zip(opened, self.body.inputs, strict=True)
        ]


@router.post("/v1/models/{model}/predict", summary="Predict with one model", **PREDICT)
async def predict(request: Request, model: str) -> Response:
    """Send an input to a model; the budget may be in the query, in `Offramp-*` headers, in form fields or in JSON."""
    engine: Engine = request.app.state.engine
    chosen = engine.model(model)
    try:
        asked = await _read(request, callers.of(request, model), [chosen])
    except OfframpError as error:
        chosen.telemetry.dropped(error, caller=Caller(request.state.request_id))
        raise
    return await _answer(request, engine, chosen, asked)


@router.post("/v1/predict", summary="Predict with the default model of the input's modality", **PREDICT)
async def predict_default(request: Request) -> Response:
    """As with one model; the model is the first by name that classifies what the body is, or else reads it."""
    engine: Engine = request.app.state.engine
    asked = await _read(request, callers.of(request), engine.catalogue.serving)
    chosen = _default(engine, asked.body.inputs[0])
    callers.of(request, chosen.name)
    return await _answer(request, engine, chosen, asked)


async def _read(request: Request, caller: Caller, models: Sequence[Model]) -> Asked:
    """The request, which one of the models will answer: if one of them reads video, the body may be large."""
    settings: Settings = request.app.state.engine.settings
    video = any(model.package.manifest.modality == _VIDEO for model in models)
    room = Room(request.app.state.spool, settings.max_video_bytes) if video else None
    body = await bodies.read(request, max_bytes=settings.max_body_bytes, max_inputs=settings.max_inputs, room=room)
    query = budgets.from_texts(request.query_params.multi_items(), source="the query", others=_OTHERS)
    budget = budgets.merge(budgets.from_headers(request.headers.items()), query, body.budget).budget()
    explain = budgets.flag(request.query_params.getlist("explain"), source="the query")
    form = _form(request.query_params.getlist("map"))
    known = exchange(request)
    return Asked(body, budget, explain or body.explain, caller, form, judged=known is not None and known.judged)


async def _answer(request: Request, engine: Engine, model: Model, asked: Asked) -> Response:
    samples = asked.samples(model, engine.settings)
    if stream.wanted(request):
        if len(samples) > 1:
            raise Malformed("a stream follows one input; send several inputs as several requests")
        return await unless_gone(request, stream.respond(request, engine, model, samples[0], asked.form))
    answers = await unless_gone(request, engine.predict(model, samples))
    shown = [render.answer(answer, asked.form) for answer in answers]
    content = shown[0] if len(shown) == 1 else {"answers": shown}
    return JSONResponse(content, headers={"Server-Timing": _server_timing(answers)})


def _form(texts: Sequence[str]) -> MapForm:
    """How the map of an answer that has one is to be sent.

    Raises:
        Malformed: in no way that is known here, or in two.
    """
    found = [form for form in _FORMS if texts == [form]]
    if texts and not found:
        raise Malformed(f"the query gives map={', '.join(texts)[:100]!r}; known are {list(_FORMS)}", key="map")
    return found[0] if found else "runs"


def _open(model: Model, given: Input, settings: Settings) -> Any:
    modality = model.package.manifest.modality
    if given.modality not in (None, modality):
        raise UnsupportedMedia(f"{model.name} reads {modality}, not {given.modality}")
    return model.open(given.data, given.content_type, limits(settings))


def _default(engine: Engine, given: Input) -> Model:
    """The first model that reads what an input is: by JSON key, by Content-Type, else by its first bytes."""
    kind = given.modality or declared(given.content_type) or sniff(head(given.data))
    if kind is None:
        raise Malformed("the body is of no kind that is known here" if len(given.data) else "the body is empty")
    try:
        return engine.default(kind.partition("/")[0])
    except UnknownModel as error:
        raise UnsupportedMedia(f"no model here reads {kind[:100]!r}") from error


def _server_timing(answers: Sequence[Answer]) -> str:
    """The slowest answer's times, as browsers show them."""
    slowest = max(answers, key=lambda answer: answer.seconds)
    return ", ".join(f"{name};dur={ms:g}" for name, ms in render.timing(slowest).items())
