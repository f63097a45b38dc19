"""`offramp serve`: the HTTP server."""

from __future__ import annotations

import argparse
import signal
import sys

import uvicorn

from service import journal
from service.api.door import Door
from service.api.front import Front
from service.app import build_app
from service.model import find
from service.runtime.onnx import check_install
from service.settings import Settings

NAME = "serve"
HELP = "serve the packages over HTTP"
_SWITCH_S = 0.0005
"""Longest wait of a lane for the interpreter as it comes back from a stage: 5 ms are much of a short deadline."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags for the settings that are changed most; OFFRAMP_* variables set the others."""
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on")
    parser.add_argument("--grpc-port", type=int, help="port for gRPC; 0 serves none")
    parser.add_argument("--lanes", type=int, help="threads that run stages")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="where stages run")
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"])


def run(_: argparse.Namespace, settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; then accepted work finishes. Returns 1 when the models could not be served."""
    check_install(settings.device)
    find(settings.models)
    journal.open_log(settings.log_level, settings.log_format, access=settings.access_log)
    app = build_app(settings)
    config = uvicorn.Config(
        Front(app),
        http=Door,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=settings.log_level == "debug",
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )
    # uvicorn raises the signal that stopped it once more when it is done: a clean stop shall exit with 0.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)
    sys.setswitchinterval(_SWITCH_S)
    # Not asyncio.run: that would take the standard event loop, not the fast one that uvicorn comes with.
    uvicorn.Server(config).run()
    return 1 if app.state.fault else 0
