"""What OpenAPI says of the routes: parameters, bodies, examples and every error. Bodies are read raw, so the framework
can't tell.
"""

from __future__ import annotations

from typing import Any, get_args

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.api.budgets import BudgetFields
from service.api.schemas import Answers, AnswerShape, Problem
from service.errors import (
    DeadlinePassed,
    Forbidden,
    ImpossibleBudget,
    Malformed,
    OfframpError,
    Overloaded,
    QuotaExceeded,
    StageFailed,
    TooLarge,
    Unauthenticated,
    UnknownModel,
    UnsupportedMedia,
)
from service.media import video
from service.media.base import MediaType
from service.media.image import READABLE
from service.task.base import MapForm

Schema = dict[str, Any]

PROBLEM = "application/problem+json"
_PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}
_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC"
"""A PNG of one red pixel: the example in `/docs` works as it stands."""

_ERRORS: dict[int, tuple[type[OfframpError], str, str]] = {
    400: (Malformed, "Malformed body, parameter or header", "budget.latency_ms: Input should be greater than 0"),
    401: (
        Unauthenticated,
        "No API key, or one that nobody has; only where tenants are set up",
        "nobody here has that key",
    ),
    403: (Forbidden, "The API key doesn't open this", "the key of acme doesn't open model 'cifar10-early-exit'"),
    404: (UnknownModel, "Unknown model", "no model 'resnet'; there are ['cifar10-early-exit']"),
    413: (TooLarge, "Input too large", "the body has 90000000 bytes; at most 20971520 are taken"),
    415: (
        UnsupportedMedia,
        "Unsupported or mislabelled media",
        "declared image/png, but the bytes are image/jpeg",
    ),
    422: (
        ImpossibleBudget,
        "Impossible budget; `best` is what could be kept",
        "accuracy 0.99 can't be certified at confidence 0.95: the full network reaches 0.89",
    ),
    429: (
        QuotaExceeded,
        "The tenant's compute is used up for now; `Retry-After` says when there is some again",
        "acme has used up its 500 MMACs/s",
    ),
    500: (StageFailed, "A stage failed", "stage failed: RuntimeException"),
    503: (
        Overloaded,
        "Starting, stopping or overloaded; `Retry-After` says when to come back",
        "1024 walkers are in flight",
    ),
    504: (DeadlinePassed, "Deadline passed, with `on_miss=fail`", "no exit can be reached before the deadline"),
}
_EXTRA: dict[int, Schema] = {
    413: {"limit": 20971520},
    415: {"declared": "image/png", "found": "image/jpeg"},
    422: {"budget": "accuracy", "asked": 0.99, "best": 0.89},
    429: {"retry_after": 1.0, "tenant": "acme", "mmacs_per_s": 500.0},
    503: {"retry_after": 1.0},
}
_HEADERS: dict[str, Schema] = {
    "X-Request-Id": {"description": "Yours, if you sent a sane one; else a new one."},
    "Server-Timing": {"description": "decode, queue, compute and total of the slowest answer, in ms."},
    "Retry-After": {"description": "Seconds after which a retry makes sense."},
}
_BINARY: Schema = {"schema": {"type": "string", "format": "binary"}}


def install(app: FastAPI) -> None:
    """Let the app's OpenAPI document say what is left out by the framework, and leave out what never happens."""

    def document() -> Schema:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            app.openapi_schema = _corrected(made)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _corrected(document: Schema) -> Schema:
    schemas = document["components"]["schemas"]
    schemas["Problem"] = Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            responses = operation["responses"]
            if "HTTPValidationError" in str(responses.get("422")):  # nothing is validated by the framework
                del responses["422"]
            for status, response in responses.items():
                later = status in (str(Overloaded.status), str(QuotaExceeded.status))
                tells = ("X-Request-Id", "Retry-After") if later else ("X-Request-Id",)
                response.setdefault("headers", {}).update(_headers(*tells))
    return document


def errors(*statuses: int) -> dict[int | str, Schema]:
    """OpenAPI responses for these problem statuses."""
    return {status: _error(status) for status in statuses}


def _error(status: int) -> Schema:
    error, description, detail = _ERRORS[status]
    example = {
        "type": f"urn:offramp:error:{error.slug}",
        "title": error.title,
        "status": status,
        "detail": detail,
        "instance": "/v1/models/cifar10-early-exit/predict",
        "retryable": error.retryable,
        **_EXTRA.get(status, {}),
    }
    return {"description": description, "content": {PROBLEM: {"schema": _PROBLEM_SCHEMA, "example": example}}}


def _headers(*names: str) -> Schema:
    return {name: {**_HEADERS[name], "schema": {"type": "string"}} for name in names}


def _parameters() -> list[Schema]:
    """The budget as query parameters and as headers."""
    fields = {name: _scalar(field) for name, field in BudgetFields.model_json_schema()["properties"].items()}
    explain = {"type": "boolean", "default": False, "description": "Show the walk, stage by stage."}
    drawn = {
        "type": "string",
        "enum": list(get_args(MapForm)),
        "default": "runs",
        "description": "Form of the map of a segmentation: runs of equal pixels, a PNG in base64, or none.",
    }
    shown = {**fields, "explain": explain, "map": drawn}
    query = [_parameter(name, "query", schema) for name, schema in shown.items()]
    return query + [_parameter(_header(name), "header", schema) for name, schema in fields.items()]


def _parameter(name: str, place: str, schema: Schema) -> Schema:
    return {"name": name, "in": place, "required": False, "schema": schema}


def _header(key: str) -> str:
    """`latency_ms` as `Offramp-Latency-Ms`."""
    return "-".join(["Offramp", *(part.capitalize() for part in key.split("_"))])


def _scalar(field: Schema) -> Schema:
    kind = next(option for option in field["anyOf"] if option.get("type") != "null")
    if "$ref" in kind:
        kind = {"type": "string", "enum": ["best_effort", "fail"]}
    return {**kind, **{key: field[key] for key in ("description", "examples") if key in field}}


def _body() -> Schema:
    fields = {name: _scalar(field) for name, field in BudgetFields.model_json_schema()["properties"].items()}
    budget = {"type": "object", "additionalProperties": False, "properties": fields}
    kinds: Schema = {"image_base64": {"type": "string", "format": "byte"}, "text": {"type": "string"}}
    kinds["video_base64"] = kinds["image_base64"]
    one = [
        {"type": "object", "additionalProperties": False, "properties": {key: kind}, "required": [key]}
        for key, kind in kinds.items()
    ]
    explain = {"type": "boolean"}
    inputs = {"type": "array", "minItems": 1, "items": {"oneOf": one}}
    document = {
        "type": "object",
        "additionalProperties": False,
        "required": ["inputs"],
        "properties": {"inputs": inputs, "budget": budget, "explain": explain},
    }
    files = {"type": "array", "minItems": 1, "items": _BINARY["schema"]}
    form = {"type": "object", "required": ["file"], "properties": {"file": files, **fields, "explain": explain}}
    example = {"inputs": [{"image_base64": _PICTURE}], "budget": {"latency_ms": 1000}}
    content: Schema = dict.fromkeys(map(str, (*READABLE, *video.READABLE)), _BINARY)
    content[MediaType.TEXT] = {"schema": {"type": "string"}}
    content["multipart/form-data"] = {"schema": form}
    content["application/json"] = {"schema": document, "example": example}
    return {"required": True, "content": content}


PREDICT: Schema = {
    "response_model": AnswerShape | Answers,
    "responses": {
        200: {
            "description": "The answer with its receipt; several inputs: answers.",
            "headers": _headers("Server-Timing"),
        },
        **errors(*_ERRORS),
    },
    "openapi_extra": {"requestBody": _body(), "parameters": _parameters()},
}
