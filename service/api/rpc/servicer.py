"""The protocol's calls. Each ends in an answer or in the gRPC status that its error owns."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from service.answer import Answer
from service.api.following import follow
from service.api.request_id import choose
from service.api.rpc import wire
from service.api.v2 import diagnostics, documents, inference
from service.core import Caller, Reached
from service.engine import Sample
from service.errors import Malformed, OfframpError
from service.model import Model
from service.repository import Repository
from service.tenants import Account

log = logging.getLogger(__name__)

_REQUEST_ID = "x-request-id"
Call = Callable[[Any, Any], Awaitable[Any]]


class Servicer:
    """`GRPCInferenceService` on an engine and its repository."""

    def __init__(self, repository: Repository) -> None:
        self._engine, self._repository = repository.engine, repository

    def handlers(self) -> grpc.GenericRpcHandler:
        """All calls of the service, by name."""
        calls: dict[str, Call] = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "ModelConfig": self.model_config,
            "ModelStatistics": self.model_statistics,
            "RepositoryIndex": self.repository_index,
            "RepositoryModelLoad": self.repository_model_load,
            "RepositoryModelUnload": self.repository_model_unload,
            "TraceSetting": self.trace_setting,
            "LogSettings": self.log_settings,
            "ModelInfer": self.model_infer,
        }
        handlers = {name: _unary(name, call) for name, call in calls.items()}
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self.model_stream_infer,
            request_deserializer=wire.message("ModelInferRequest").FromString,
            response_serializer=wire.message("ModelStreamInferResponse").SerializeToString,
        )
        return grpc.method_handlers_generic_handler(wire.SERVICE, handlers)

    async def server_live(self, _: Any, __: Any) -> Any:
        """The process lives."""
        return wire.filled("ServerLiveResponse", {"live": True})

    async def server_ready(self, _: Any, __: Any) -> Any:
        """Models are loaded, and the server doesn't drain."""
        return wire.filled("ServerReadyResponse", {"ready": self._engine.ready})

    async def model_ready(self, request: Any, _: Any) -> Any:
        """The model takes requests."""
        return wire.filled("ModelReadyResponse", {"ready": documents.is_ready(self._engine, request.name)})

    async def server_metadata(self, _: Any, __: Any) -> Any:
        """Name, version and extensions."""
        return wire.filled("ServerMetadataResponse", documents.server())

    async def model_metadata(self, request: Any, _: Any) -> Any:
        """Inputs and outputs."""
        return wire.filled("ModelMetadataResponse", documents.model(self._model(request.name, request.version)))

    async def model_config(self, request: Any, _: Any) -> Any:
        """What Triton's tools read of a configuration."""
        served = self._model(request.name, request.version)
        config = documents.config(served, self._engine.settings.max_inputs)
        return wire.filled("ModelConfigResponse", {"config": config})

    async def model_statistics(self, request: Any, _: Any) -> Any:
        """Of one model, or of all."""
        named = [self._model(request.name, request.version)] if request.name else list(self._engine.models.values())
        return wire.filled("ModelStatisticsResponse", {"model_stats": [documents.statistics(one) for one in named]})

    async def repository_index(self, request: Any, _: Any) -> Any:
        """Every package found; only those that are ready, if asked so."""
        entries = documents.index(self._engine)
        shown = [one for one in entries if not request.ready or one["state"] == "READY"]
        return wire.filled("RepositoryIndexResponse", {"models": shown})

    async def repository_model_load(self, request: Any, context: Any) -> Any:
        """See `Repository.load`."""
        self._check_admin(context)
        documents.check_no_override(request.parameters)
        await self._repository.load(request.model_name or request.repository_name)
        return wire.message("RepositoryModelLoadResponse")()

    async def repository_model_unload(self, request: Any, context: Any) -> Any:
        """See `Repository.unload`."""
        self._check_admin(context)
        await self._repository.unload(request.model_name or request.repository_name)
        return wire.message("RepositoryModelUnloadResponse")()

    async def trace_setting(self, request: Any, context: Any) -> Any:
        """Read the settings; to set what leaves tracing off does nothing."""
        if request.model_name:
            self._engine.model(request.model_name)
        if request.settings:
            self._check_admin(context)
        asked = {name: list(setting.value) or None for name, setting in request.settings.items()}
        told = diagnostics.change_trace(asked)
        shown = {name: {"value": value if isinstance(value, list) else [value]} for name, value in told.items()}
        return wire.filled("TraceSettingResponse", {"settings": shown})

    async def log_settings(self, request: Any, context: Any) -> Any:
        """Read the log's settings, or change its level."""
        if request.settings:
            self._check_admin(context)
        told = diagnostics.change_log(wire.parameters(request.settings))
        made = wire.message("LogSettingsResponse")()
        for name, value in told.items():
            wire.put(made.settings[name], value)
        return made

    async def model_infer(self, request: Any, context: Any) -> Any:
        """Tensors and a budget in, tensors and a receipt out; the call's own deadline is a deadline."""
        asked, model, samples = self._asked(request, context)
        return wire.reply(inference.reply(asked, model, await self._engine.predict(model, samples)))

    async def model_stream_infer(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """For each request one reply an exit that its walk passes, then the answer, marked as the last."""
        made = wire.message("ModelStreamInferResponse")
        async for request in requests:
            try:
                async for reply in self._streamed(request, context):
                    yield made(infer_response=reply)
            except OfframpError as error:
                # The stream goes on with the next request; who asked is told by the id.
                failed = wire.message("ModelInferResponse")(model_name=request.model_name, id=request.id)
                yield made(error_message=error.detail, infer_response=failed)

    async def _streamed(self, request: Any, context: Any) -> AsyncIterator[Any]:
        asked, model, samples = self._asked(request, context)
        if len(samples) > 1:
            raise Malformed("a stream follows one input; send several inputs as several requests")
        async for event in follow(self._engine, model, samples[0]):
            told = _answer(asked, model, event) if isinstance(event, Answer) else _passed(asked, model, event)
            reply = wire.reply(told)
            reply.parameters["triton_final_response"].bool_param = isinstance(event, Answer)
            yield reply

    def _asked(self, request: Any, context: Any) -> tuple[Any, Model, list[Sample]]:
        model = self._model(request.model_name, request.model_version)
        caller = Caller(_request_id(context))
        try:
            caller = Caller(caller.request_id, self._account(context, model.name))
            asked = wire.request(request)
            samples = inference.samples(asked, model, self._engine.settings, time.monotonic(), caller)
            inference.check_outputs(asked, model)
        except OfframpError as error:
            model.telemetry.dropped(error, caller=caller)
            raise
        return asked, model, [_within(sample, context.time_remaining()) for sample in samples]

    def _account(self, context: Any, model: str) -> Account | None:
        account = self._engine.tenants.account(_metadata(context))
        if account is not None:
            account.check_model(model)
        return account

    def _check_admin(self, context: Any) -> None:
        account = self._engine.tenants.account(_metadata(context))
        if account is not None:
            account.check_admin()

    def _model(self, name: str, version: str) -> Model:
        return inference.versioned(self._engine.model(name), version)


def _metadata(context: Any) -> dict[str, str]:
    """A call's metadata as headers; gRPC gives names in lower case."""
    return {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}


def _request_id(context: Any) -> str:
    """As `X-Request-Id` over HTTP: the client's own or a new one, returned in the trailing metadata."""
    chosen = choose(_metadata(context).get(_REQUEST_ID, ""))
    context.set_trailing_metadata(((_REQUEST_ID, chosen),))
    return chosen


def _within(sample: Sample, seconds: float | None) -> Sample:
    """The sample with the call's deadline, if it has one that ends before the budget's."""
    asked = sample.budget.latency_ms
    if seconds is None or seconds * 1e3 >= (math.inf if asked is None else asked):
        return sample
    return dataclasses.replace(sample, budget=dataclasses.replace(sample.budget, latency_ms=max(seconds * 1e3, 1e-3)))


def _answer(asked: Any, model: Model, answer: Answer) -> Any:
    return inference.reply(asked, model, [answer])


def _passed(asked: Any, model: Model, event: Reached) -> Any:
    return inference.passed(asked, model, event)


def _unary(name: str, call: Call) -> grpc.RpcMethodHandler:
    """A call whose errors become statuses."""

    async def answered(request: Any, context: Any) -> Any:
        try:
            return await call(request, context)
        except OfframpError as error:
            await context.abort(grpc.StatusCode[error.grpc], error.detail, _trailing(context, error))
        except (asyncio.CancelledError, grpc.RpcError):
            raise
        except Exception as error:
            log.exception("unforeseen error in %s", name)
            await context.abort(grpc.StatusCode.INTERNAL, f"an error that nobody foresaw: {type(error).__name__}")

    return grpc.unary_unary_rpc_method_handler(
        answered,
        request_deserializer=wire.message(f"{name}Request").FromString,
        response_serializer=wire.message(f"{name}Response").SerializeToString,
    )


def _trailing(context: Any, error: OfframpError) -> tuple[tuple[str, str], ...]:
    """What was set before, and when to come back."""
    after, told = error.extra.get("retry_after"), tuple(context.trailing_metadata() or ())
    return told if after is None else (*told, ("retry-after", str(max(1, math.ceil(after)))))
