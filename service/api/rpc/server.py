"""The gRPC server: the protocol, health and reflection on a port of its own, in the event loop of the HTTP server."""

from __future__ import annotations

import socket
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service.api.rpc import wire
from service.api.rpc.servicer import Servicer
from service.errors import SettingsError
from service.repository import Repository

_FRAME = 1 << 20
"""What a request has beside its tensors: names, shapes, parameters."""


class RpcServer:
    """Serves while the engine does: health says so."""

    def __init__(self, repository: Repository) -> None:
        limit = repository.engine.settings.max_body_bytes + _FRAME
        options = [("grpc.max_receive_message_length", limit), ("grpc.so_reuseport", 0)]
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((Servicer(repository).handlers(),))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((wire.SERVICE,), self._server, pool=wire.pool())

    async def start(self, host: str, port: int) -> None:
        """Listen; until `ready` health says that nothing is served.

        Raises:
            SettingsError: the port can't be had.
        """
        await self._set(health_pb2.HealthCheckResponse.NOT_SERVING)
        _require_free(host, port)
        try:
            self._server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except RuntimeError as error:
            raise SettingsError(f"grpc_port {port} can't be had: {error}") from error
        await self._server.start()

    async def ready(self) -> None:
        """The models are loaded."""
        await self._set(health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, patience_s: float) -> None:
        """Take nothing new, finish what runs."""
        await self._set(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.stop(patience_s)

    async def _set(self, status: Any) -> None:
        for name in ("", wire.SERVICE):
            await self._health.set(name, status)


def _require_free(host: str, port: int) -> None:
    """gRPC shares a port that somebody listens on already, and each gets some of the calls."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise SettingsError(f"grpc_port {port} can't be had: {error.strerror}") from error
