"""The application: wires the parts once, starts them in the background, drains them at the end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata

from fastapi import FastAPI

from service.api import certificates, openapi, ops, predict, problems
from service.api.methods import Methods
from service.api.request_id import RequestId
from service.engine import Engine
from service.errors import OfframpError
from service.settings import Settings

log = logging.getLogger(__name__)


def build_app(settings: Settings) -> FastAPI:
    """The server as an ASGI application. Models load after start-up; `/readyz` tells when they have."""
    app = FastAPI(
        title="offramp",
        version=metadata.version("offramp"),
        summary="Inference in which compute is a decision made per request, while the request runs.",
        lifespan=_lifespan,
    )
    app.state.engine = Engine(settings)
    app.state.fault = None
    app.include_router(predict.router)
    app.include_router(ops.router)
    app.include_router(certificates.router)
    app.add_middleware(Methods)
    app.add_middleware(RequestId)
    problems.install(app)
    openapi.install(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    loading = asyncio.create_task(_load(app))
    yield
    engine: Engine = app.state.engine
    await loading
    if engine.ready:
        await asyncio.to_thread(engine.stop)


async def _load(app: FastAPI) -> None:
    """Load the models, then serve. What no retry can mend ends the process, with the reason in `app.state.fault`."""
    engine: Engine = app.state.engine
    try:
        await asyncio.to_thread(engine.load)
        engine.start()
    except Exception as error:
        app.state.fault = error.detail if isinstance(error, OfframpError) else repr(error)
        log.critical("can't serve: %s", app.state.fault, exc_info=not isinstance(error, OfframpError))
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        log.info("ready: %s", ", ".join(sorted(engine.models)) or "no models")
