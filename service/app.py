"""The application: wires the parts once, starts them in the background, drains them at the end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from typing import TYPE_CHECKING

from fastapi import FastAPI

from service.api import certificates, openapi, ops, predict, problems, web
from service.api.methods import Methods
from service.api.request_id import RequestId
from service.api.v2 import routes as v2
from service.engine import Engine
from service.errors import OfframpError, SettingsError
from service.media.uploads import Spool
from service.repository import Repository
from service.settings import Settings

if TYPE_CHECKING:
    from service.api.rpc.server import RpcServer

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
    app.state.repository = Repository(app.state.engine)
    app.state.spool = Spool(settings.max_spool_bytes, settings.spool_after_bytes)
    app.state.fault = app.state.rpc = None
    app.include_router(predict.router)
    app.include_router(ops.router)
    app.include_router(certificates.router)
    app.include_router(v2.router)
    app.include_router(web.router)
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
    if app.state.rpc is not None:
        await app.state.rpc.stop(engine.settings.drain_s)
    if engine.ready:
        await asyncio.to_thread(engine.stop)


async def _load(app: FastAPI) -> None:
    """Load the models, then serve. What no retry can mend ends the process, with the reason in `app.state.fault`."""
    engine: Engine = app.state.engine
    try:
        app.state.rpc = await _start_rpc(app.state.repository)
        await asyncio.to_thread(engine.load)
        engine.start()
    except Exception as error:
        app.state.fault = error.detail if isinstance(error, OfframpError) else repr(error)
        log.critical("can't serve: %s", app.state.fault, exc_info=not isinstance(error, OfframpError))
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        if app.state.rpc is not None:
            await app.state.rpc.ready()
        # What was made until now stays: a full collection that looks at all of it would stop the event loop for 0.1 s.
        gc.collect()
        gc.freeze()
        log.info("ready: %s", ", ".join(sorted(engine.models)) or "no models")


async def _start_rpc(repository: Repository) -> RpcServer | None:
    """The gRPC server, listening; None where it isn't wanted, or not installed and not asked for by name.

    Raises:
        SettingsError: its port can't be had, or it was asked for and isn't installed.
    """
    settings = repository.engine.settings
    if not settings.grpc_port:
        return None
    try:
        from service.api.rpc.server import RpcServer
    except ImportError as error:
        remedy = f"{error.name} is missing: pip install 'offramp[grpc]'"
        if "grpc_port" in settings.model_fields_set:
            raise SettingsError(f"grpc_port is set, but {remedy}") from error
        log.info("no gRPC: %s", remedy)
        return None
    server = RpcServer(repository)
    await server.start(settings.host, settings.grpc_port)
    return server
