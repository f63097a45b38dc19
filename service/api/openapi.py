"""What OpenAPI says of the predict routes, whose bodies are read raw: parameters, bodies, examples and every error."""

from __future__ import annotations

from typing import Any

from service.api.budgets import BudgetFields
from service.api.problems import MEDIA_TYPE
from service.api.schemas import Answers, AnswerShape, Problem
from service.media.image import READABLE

_ERRORS = {
    400: ("Malformed body, parameter or header", "budget.latency_ms: Input should be greater than 0"),
    404: ("Unknown model", "no model 'resnet'; there are ['cifar10-early-exit']"),
    413: ("Input too large", "the body has 90000000 bytes; at most 20971520 are taken"),
    415: ("Unsupported or mislabelled media", "declared image/png, but the bytes are image/jpeg"),
    422: ("Impossible budget", "accuracy 0.99 can't be certified at confidence 0.95: the full network reaches 0.89"),
    500: ("A stage failed", "stage failed: RuntimeException"),
    503: ("Starting, stopping or overloaded; `Retry-After` says when to come back", "1024 walkers are in flight"),
    504: ("Deadline passed, with `on_miss=fail`", "no exit can be reached before the deadline"),
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses for these problem statuses."""
    return {status: _error(status) for status in statuses}


def _error(status: int) -> dict[str, Any]:
    title, detail = _ERRORS[status]
    example = {"type": "urn:offramp:error:..", "title": title, "status": status, "detail": detail, "instance": "/v1/.."}
    return {"description": title, "model": Problem, "content": {MEDIA_TYPE: {"example": example}}}


def _parameters() -> list[dict[str, Any]]:
    """The budget as query parameters; the same names with dashes and `Offramp-` in front work as headers."""
    fields = BudgetFields.model_json_schema()["properties"]
    shown = [
        {"name": name, "in": "query", "required": False, "schema": _scalar(field)} for name, field in fields.items()
    ]
    explain = {"type": "boolean", "default": False, "description": "Show the walk, stage by stage."}
    return [*shown, {"name": "explain", "in": "query", "required": False, "schema": explain}]


def _scalar(field: dict[str, Any]) -> dict[str, Any]:
    kind = next(option for option in field["anyOf"] if option.get("type") != "null")
    if "$ref" in kind:
        kind = {"type": "string", "enum": ["best_effort", "fail"]}
    return {**kind, **{key: field[key] for key in ("description", "examples") if key in field}}


def _body() -> dict[str, Any]:
    budget = BudgetFields.model_json_schema()
    definitions = budget.pop("$defs", {})
    budget["properties"]["on_miss"] = _scalar({"anyOf": [definitions["OnMiss"]]})
    one = {"type": "object", "additionalProperties": False, "properties": {"image_base64": {"type": "string"}}}
    inputs = {"type": "array", "minItems": 1, "items": {**one, "required": ["image_base64"]}}
    document = {
        "type": "object",
        "additionalProperties": False,
        "required": ["inputs"],
        "properties": {"inputs": inputs, "budget": budget, "explain": {"type": "boolean"}},
    }
    files = {"type": "object", "properties": {"file": {"type": "array", "items": _BINARY["schema"]}}}
    example = {"inputs": [{"image_base64": "/9j/4AAQ.."}], "budget": {"latency_ms": 20}}
    content: dict[str, Any] = dict.fromkeys(map(str, READABLE), _BINARY)
    content["multipart/form-data"] = {"schema": files}
    content["application/json"] = {"schema": document, "example": example}
    return {"required": True, "content": content}


PREDICT: dict[str, Any] = {
    "response_model": AnswerShape | Answers,
    "responses": errors(*_ERRORS),
    "openapi_extra": {"requestBody": _body(), "parameters": _parameters()},
}
