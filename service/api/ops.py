"""Models, health, metrics: what operators and dashboards read."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client.exposition import choose_encoder

from service.api import render
from service.api.openapi import errors
from service.api.problems import retry_after
from service.api.schemas import ModelList, ModelShape
from service.engine import Engine

router = APIRouter(tags=["operations"])


@router.get("/v1/models", response_model=ModelList)
async def models(request: Request) -> JSONResponse:
    """Every package found: ready, failed or unloaded."""
    engine: Engine = request.app.state.engine
    loading: dict[str, str] = {} if engine.ready else {"state": "loading"}
    served = [one for name, one in sorted(engine.models.items()) if name not in engine.withdrawn]
    out = [render.out(name, "unloaded", None) for name in sorted(engine.withdrawn)]
    # A package that broke since it was loaded is served as it was; who tried to load it anew was told why not.
    broken = {name: why for name, why in engine.failed.items() if name not in engine.models}
    out += [render.out(name, "failed", why) for name, why in sorted(broken.items())]
    return JSONResponse({"models": [render.line(model) | loading for model in served] + out})


@router.get("/v1/models/{model}", response_model=ModelShape, responses=errors(404, 503))
async def model(request: Request, model: str) -> JSONResponse:
    """Stages, exits, and the certified curve of accuracy against compute."""
    engine: Engine = request.app.state.engine
    return JSONResponse(render.model(engine.model(model)))


@router.get("/healthz", response_class=PlainTextResponse, responses={503: {"description": "A lane has died."}})
async def healthz(request: Request) -> Response:
    """200 while the process lives and all its lanes do; says nothing of the models."""
    dead = request.app.state.engine.dead_lanes
    if not dead:
        return PlainTextResponse("ok\n")
    return PlainTextResponse(f"dead: {', '.join(dead)}\n", 503, headers={"Retry-After": retry_after()})


@router.get("/readyz", response_class=PlainTextResponse, responses={503: {"description": "Loading or draining."}})
async def readyz(request: Request) -> Response:
    """200 once the models are warm, 503 before and while draining."""
    ready = request.app.state.engine.ready
    if ready:
        return PlainTextResponse("ready\n")
    return PlainTextResponse("not ready\n", 503, headers={"Retry-After": retry_after()})


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Prometheus text format; OpenMetrics, with a request id as exemplar of its buckets, to who accepts it."""
    registry = request.app.state.engine.metrics.registry
    render_all, media_type = choose_encoder(request.headers.get("accept", ""))
    # Rendering hundreds of children takes tens of milliseconds: not on the event loop.
    text = await asyncio.to_thread(render_all, registry)
    return Response(text, media_type=media_type)
