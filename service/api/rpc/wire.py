"""Protobuf messages of the protocol, and their way to and from the requests and replies that HTTP shares.

The messages live in a descriptor pool of their own: a client library in the same process brings the same names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool

from service.api.v2.messages import InferReply, InferRequest, Wanted
from service.api.v2.tensors import BYTES, DTYPES, Tensor, from_raw, from_values
from service.errors import Malformed

SERVICE = "inference.GRPCInferenceService"
_CONTENTS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
"""Where a tensor of each type stands in typed contents; FP16 has no place there."""


_FIELDS = (
    (bool, "bool_param"),
    (int, "int64_param"),
    (int, "uint32_param"),
    (float, "double_param"),
    (str, "string_param"),
)


@cache
def pool() -> DescriptorPool:
    """The descriptors of inference.proto."""
    described = descriptor_pb2.FileDescriptorSet.FromString(Path(__file__).with_name("inference.binpb").read_bytes())
    made = DescriptorPool()
    for file in described.file:
        made.AddSerializedFile(file.SerializeToString())
    return made


@cache
def message(name: str) -> Any:
    """The class of a message."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(f"inference.{name}"))


def filled(name: str, members: Mapping[str, Any]) -> Any:
    """A message from the members that HTTP would show; what the message has no field for is left out."""
    return json_format.ParseDict(dict(members), message(name)(), ignore_unknown_fields=True)


def request(given: Any) -> InferRequest:
    """A `ModelInferRequest`.

    Raises:
        Malformed: tensors that aren't what they say, or both raw and typed contents.
    """
    raw = list(given.raw_input_contents)
    if raw and len(raw) != len(given.inputs):
        raise Malformed(f"{len(raw)} raw contents for {len(given.inputs)} inputs")
    inputs = [_input(one, raw[place] if raw else None) for place, one in enumerate(given.inputs)]
    outputs = [_wanted(one) for one in given.outputs]
    return InferRequest(inputs, parameters(given.parameters), outputs, given.id, binary=True)


def reply(answered: InferReply) -> Any:
    """A `ModelInferResponse`, tensors as raw contents."""
    made = message("ModelInferResponse")(model_name=answered.model, model_version=answered.version, id=answered.id)
    for name, value in answered.parameters.items():
        put(made.parameters[name], value)
    for tensor in answered.outputs:
        made.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        made.raw_output_contents.append(tensor.raw())
    return made


def _input(given: Any, raw: bytes | None) -> Tensor:
    shape: Sequence[int] = list(given.shape)
    if raw is not None:
        if given.HasField("contents"):
            raise Malformed(f"input {given.name[:100]!r} has both raw and typed contents")
        return from_raw(given.name, given.datatype, shape, raw)
    if given.datatype == BYTES:
        elements = list(given.contents.bytes_contents)
        return from_raw(given.name, BYTES, shape, Tensor(given.name, BYTES, tuple(shape), elements).raw())
    if given.datatype not in _CONTENTS:
        known = [*_CONTENTS, BYTES] if given.datatype in DTYPES else [*DTYPES, BYTES]
        raise Malformed(f"input {given.name[:100]!r}: {given.datatype[:20]!r} is none of {known}")
    return from_values(given.name, given.datatype, shape, list(getattr(given.contents, _CONTENTS[given.datatype])))


def _wanted(given: Any) -> Wanted:
    classes = parameters(given.parameters).get("classification", 0)
    if not isinstance(classes, int) or classes < 0:
        raise Malformed(f"output {given.name[:100]!r}: classification is a number of classes")
    return Wanted(given.name, classes=int(classes))


def parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a map of parameters, or of settings, by name."""
    chosen = {name: value.WhichOneof("parameter_choice") for name, value in given.items()}
    return {name: getattr(given[name], choice) for name, choice in chosen.items() if choice}


def put(parameter: Any, value: Any) -> None:
    """Fill a parameter, or a setting, with a value of any type that it has a field for."""
    for kind, field in _FIELDS:
        if isinstance(value, kind) and field in parameter.DESCRIPTOR.fields_by_name:
            setattr(parameter, field, value)
            return
    raise TypeError(f"no parameter of type {type(value).__name__}")
