"""From a request of the protocol to samples, and from answers to a reply: what HTTP and gRPC share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from service.answer import Answer
from service.api import budgets, render
from service.api.v2.messages import InferReply, InferRequest, Wanted
from service.api.v2.tensors import BYTES, Tensor
from service.core import Budget, Caller, Reached, Standing
from service.engine import Sample
from service.errors import Malformed, TooLarge
from service.media.source import Source, open_pixels
from service.model import Model, limits
from service.settings import Settings
from service.task.base import Column

_FORMS = {
    "image": "BYTES [n] (files), UINT8 [n, height, width, 3]",
    "text": "BYTES [n] (texts in UTF-8)",
    "video": "BYTES [n] (files)",
}
_PIXEL_AXES = 4
_SO_FAR = ("mmacs", "fraction_of_full", "device_ms")
_IGNORED = frozenset({"triton_enable_empty_final_response"})
_MOST_URGENT, _LEAST_URGENT = 1, 8


def samples(
    request: InferRequest, model: Model, settings: Settings, received_at: float, caller: Caller
) -> list[Sample]:
    """The request's inputs as the engine takes them, none opened yet.

    Raises:
        RequestError: not the model's input, not its form, too many, or no budget.
    """
    asked = _budget(request.parameters)
    opened = _openers(_only_input(request, model), model, settings)
    if not opened:
        raise Malformed("the request has no input")
    if len(opened) > settings.max_inputs:
        raise TooLarge(f"{len(opened)} inputs; at most {settings.max_inputs} are taken", limit=settings.max_inputs)
    return [Sample(opener, asked, received_at, caller=caller) for opener in opened]


def check_outputs(request: InferRequest, model: Model) -> None:
    """Refuse names that are no outputs, before anything is computed.

    Raises:
        Malformed: it names one.
    """
    named = [one.name for one in _columns(model)]
    for wanted in request.outputs:
        if wanted.name not in named:
            raise Malformed(f"model {model.name} has no output {wanted.name[:100]!r}; it has {named}")
        if wanted.classes and not model.package.task.counted:
            raise Malformed(f"model {model.name} ranks no classes: classification can't be asked of it")


def reply(request: InferRequest, model: Model, answers: Sequence[Answer]) -> InferReply:
    """The answers with their receipts, rows in the order of the inputs."""
    return InferReply(
        model=model.name,
        version=model.package.manifest.version,
        id=request.id,
        parameters=receipt(answers),
        outputs=[_output(one, model, [answer.standing for answer in answers]) for one in _wanted(request, model)],
    )


def passed(request: InferRequest, model: Model, event: Reached) -> InferReply:
    """The answer so far at an exit that a walk has passed, and what it had cost by then."""
    told = render.reached(event, model.package)
    return InferReply(
        model=model.name,
        version=model.package.manifest.version,
        id=request.id,
        parameters={"exit": told["exit"], **{name: told["compute"][name] for name in _SO_FAR}},
        outputs=[_output(one, model, [event.standing]) for one in _wanted(request, model)],
    )


def versioned(model: Model, version: str | None) -> Model:
    """The model, if that is its version, or the first number of it, or none was asked for.

    Raises:
        Malformed: another version.
    """
    served = model.package.manifest.version
    if version not in (None, "", served, served.partition(".")[0]):
        raise Malformed(f"model {model.name} is served in version {served}, not {version}")
    return model


def receipt(answers: Sequence[Answer]) -> dict[str, Any]:
    """What was spent, in parameters: sums of compute, means of shares, exits in order; `receipts` has each in JSON."""
    shown = [render.answer(answer) for answer in answers]
    compute, budget = [one["compute"] for one in shown], [one["budget"] for one in shown]
    told = {
        "exit": ",".join(one["exit"] for one in shown),
        "reason": ",".join(one["reason"] for one in shown),
        "mmacs": sum(one["mmacs"] for one in compute),
        # The same as a whole number: KServe's messages have no field for others.
        "macs": sum(answer.ledger.macs for answer in answers),
        "fraction_of_full": sum(one["fraction_of_full"] for one in compute) / len(shown),
        "device_ms": sum(one["device_ms"] for one in compute),
        "total_ms": max(one["timing_ms"]["total"] for one in shown),
        "met": all(one["met"] for one in budget),
        "forced": any(one["forced"] for one in budget),
        "price": budget[0]["price"],
        "certificate": budget[0]["certificate"] or "",
    }
    if len(shown) > 1:
        told["receipts"] = json.dumps([{key: one[key] for key in one if key != "output"} for one in shown])
    return told


def _budget(parameters: Mapping[str, Any]) -> Budget:
    own = {name: value for name, value in parameters.items() if name not in {"timeout", "priority", *_IGNORED}}
    timeout, priority = parameters.get("timeout", 0), parameters.get("priority", 0)
    for name, value in (("timeout", timeout), ("priority", priority)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise Malformed(f"{name} must be a whole number, none below 0", key=name)
    if priority > _LEAST_URGENT:
        raise Malformed(f"priority is 1 (most urgent) to {_LEAST_URGENT}, or 0 for the usual", key="priority")
    waits = {"latency_ms": timeout / 1e3} if timeout else {}
    urgency = {"priority": priority - _MOST_URGENT} if priority else {}
    return budgets.merge(own, waits, urgency).budget()


def _only_input(request: InferRequest, model: Model) -> Tensor:
    modality = model.package.manifest.modality
    names = [tensor.name for tensor in request.inputs]
    if names != [modality]:
        raise Malformed(f"model {model.name} has one input, {modality!r}; the request has {[n[:100] for n in names]}")
    return request.inputs[0]


def _openers(tensor: Tensor, model: Model, settings: Settings) -> list[Callable[[], Source]]:
    modality = model.package.manifest.modality
    held = limits(settings)
    if tensor.datatype == BYTES:
        return [partial(model.open, element, None, held) for element in tensor.elements]
    pixels = tensor.values
    fits = len(tensor.shape) == _PIXEL_AXES and tensor.shape[-1] == 3
    if modality != "image" or tensor.datatype != "UINT8" or not fits or isinstance(pixels, list):
        raise Malformed(
            f"input {tensor.name!r} is {tensor.datatype} {list(tensor.shape)}; {model.name} takes {_FORMS[modality]}"
        )
    return [partial(open_pixels, picture, held.image) for picture in pixels]


def _columns(model: Model) -> Sequence[Column]:
    return model.package.task.columns(len(model.package.labels))


def _wanted(request: InferRequest, model: Model) -> Sequence[Wanted]:
    return request.outputs or [Wanted(one.name) for one in _columns(model)]


def _output(wanted: Wanted, model: Model, standings: Sequence[Standing]) -> Tensor:
    labels, task = model.package.labels, model.package.task
    rows = np.stack([standing.output for standing in standings]).astype(np.float32)
    if wanted.classes:
        best = min(wanted.classes, rows.shape[1])
        order = np.argsort(-rows, axis=1, kind="stable")[:, :best]
        told = [f"{row[c]:f}:{c}:{labels[c]}".encode() for row, places in zip(rows, order, strict=True) for c in places]
        return Tensor(wanted.name, BYTES, (len(rows), best), told)
    values = task.tensor(wanted.name, rows, labels)
    shape = (len(rows),) if isinstance(values, list) else values.shape
    datatype = next(one.datatype for one in _columns(model) if one.name == wanted.name)
    return Tensor(wanted.name, datatype, shape, values)
