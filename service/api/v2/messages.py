"""Inference requests and replies as HTTP carries them: a JSON header, and raw tensors behind it where wanted so."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.api.v2.tensors import Tensor, from_raw, from_values
from service.errors import Malformed

Parameters = Mapping[str, Any]
"""Strings, numbers and booleans by name."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that a client named: as raw bytes or not (None: as the request says), or as its k best classes."""

    name: str
    binary: bool | None = None
    classes: int = 0


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What a client sent, whichever way it came. `binary` says how outputs go that nobody named."""

    inputs: Sequence[Tensor]
    parameters: Parameters = field(default_factory=dict)
    outputs: Sequence[Wanted] = ()
    id: str = ""
    binary: bool = False


@dataclass(frozen=True, slots=True)
class InferReply:
    """What goes back. `outputs` in the order asked for."""

    model: str
    version: str
    id: str
    parameters: Parameters
    outputs: Sequence[Tensor]


def parse(body: bytes, header_length: int | None) -> InferRequest:
    """A request from its body; `header_length` is what Inference-Header-Content-Length says, None without.

    Raises:
        Malformed: no JSON of the protocol, or raw bytes that don't fit it.
    """
    if header_length is not None and not 0 < header_length <= len(body):
        raise Malformed(f"Inference-Header-Content-Length is {header_length}, the body has {len(body)} bytes")
    document = json_object(body if header_length is None else body[:header_length])
    raw = memoryview(b"" if header_length is None else body[header_length:])
    inputs = []
    for entry in _entries(document, "inputs"):
        tensor, used = _input(entry, raw)
        inputs.append(tensor)
        raw = raw[used:]
    if len(raw):
        raise Malformed(f"{len(raw)} bytes stand behind the last tensor")
    parameters = dict(_parameters(document))
    binary = parameters.pop("binary_data_output", False) is True
    outputs = [_wanted(entry) for entry in _entries(document, "outputs")]
    asked_id = document.get("id", "")
    if not isinstance(asked_id, str):
        raise Malformed("'id' must be a string")
    return InferRequest(inputs, parameters, outputs, asked_id, binary)


def parameters(body: bytes) -> dict[str, Any]:
    """The `parameters` of a JSON object that may have some.

    Raises:
        Malformed: no JSON object, or other values than strings, numbers and booleans.
    """
    return dict(_parameters(json_object(body)))


def encode(reply: InferReply, request: InferRequest) -> tuple[bytes, int | None]:
    """A reply as the body for its request, and the length of its JSON header if raw tensors follow."""
    raw: list[bytes] = []
    named = {wanted.name: wanted.binary for wanted in request.outputs}
    shown = []
    for tensor in reply.outputs:
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        asked = named.get(tensor.name)
        if request.binary if asked is None else asked:
            raw.append(tensor.raw())
            entry["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            entry["data"] = tensor.data()
        shown.append(entry)
    head = {"model_name": reply.model, "model_version": reply.version}
    document = head | ({"id": reply.id} if reply.id else {}) | {"parameters": dict(reply.parameters), "outputs": shown}
    header = json.dumps(document, separators=(",", ":")).encode()
    return header + b"".join(raw), len(header) if raw else None


def json_object(data: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        Malformed: it is none.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the JSON of the request can't be read: {error}") from error
    if not isinstance(found, dict):
        raise Malformed("the request must be a JSON object")
    return found


def _entries(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = document.get(key, [])
    named = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
    if not named or not all(isinstance(entry.get("name"), str) for entry in entries):
        raise Malformed(f"{key!r} must be a list of objects, each with a name")
    found: list[dict[str, Any]] = entries
    return found


def _parameters(entry: Mapping[str, Any]) -> Parameters:
    parameters = entry.get("parameters", {})
    if not isinstance(parameters, dict) or not all(isinstance(v, str | int | float) for v in parameters.values()):
        raise Malformed("'parameters' must be an object of strings, numbers and booleans")
    return parameters


def _input(entry: Mapping[str, Any], raw: memoryview) -> tuple[Tensor, int]:
    """A tensor, and how many of the raw bytes are its own."""
    name, datatype, shape = entry["name"], entry.get("datatype"), entry.get("shape")
    if not isinstance(datatype, str) or not isinstance(shape, list):
        raise Malformed(f"input {name[:100]!r} needs a datatype and a shape")
    size = _parameters(entry).get("binary_data_size")
    if size is None:
        if "data" not in entry:
            raise Malformed(f"input {name[:100]!r} has neither data nor binary_data_size")
        return from_values(name, datatype, shape, entry["data"]), 0
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(raw):
        raise Malformed(f"input {name[:100]!r}: binary_data_size {size} doesn't fit the {len(raw)} bytes that are left")
    return from_raw(name, datatype, shape, raw[:size]), size


def _wanted(entry: Mapping[str, Any]) -> Wanted:
    parameters = _parameters(entry)
    binary, classes = parameters.get("binary_data"), parameters.get("classification", 0)
    if not isinstance(binary, bool | None) or not isinstance(classes, int) or classes < 0:
        raise Malformed(f"output {entry['name'][:100]!r}: binary_data is a boolean, classification a number of classes")
    return Wanted(entry["name"], binary, int(classes))
