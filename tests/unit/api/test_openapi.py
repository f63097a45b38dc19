"""The OpenAPI document: complete, consistent, with an example for every error."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from service import errors
from service.api.budgets import KEYS, BudgetFields
from service.api.openapi import PROBLEM
from service.api.schemas import Problem
from service.app import build_app
from service.media import video
from service.media.image import READABLE, ImageSource
from service.settings import Settings

Document = dict[str, Any]
PREDICT = ["/v1/models/{model}/predict", "/v1/predict"]


@pytest.fixture(scope="module")
def document() -> Document:
    return build_app(Settings()).openapi()


def operations(document: Document) -> Iterator[tuple[str, Document]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def problems(document: Document) -> Iterator[tuple[str, int, Document]]:
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            if PROBLEM in response.get("content", {}):
                yield name, int(status), response["content"][PROBLEM]


def everything(node: Any) -> Iterator[Any]:
    """Every mapping of a document."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from everything(value)
    elif isinstance(node, list):
        for value in node:
            yield from everything(value)


def test_it_is_of_version_3_1(document: Document) -> None:
    assert re.fullmatch(r"3\.1\.\d", document["openapi"])
    assert document["info"]["title"] == "offramp"
    assert document["info"]["version"]


def test_every_reference_leads_somewhere(document: Document) -> None:
    named = {node["$ref"] for node in everything(document) if "$ref" in node}
    schemas = document["components"]["schemas"]
    assert named == {f"#/components/schemas/{name}" for name in schemas}, "no dangling and no unused schema"


def test_every_schema_is_a_json_schema(document: Document) -> None:
    for name, schema in document["components"]["schemas"].items():
        resolved = {**schema, "components": document["components"]}
        assert jsonschema_rs.Draft202012Validator(resolved), name


def test_operations_have_names_of_their_own(document: Document) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(names) == len(set(names))
    assert all(operation["summary"] and operation["description"] for _, operation in operations(document))


@pytest.mark.parametrize(
    ("operation", "statuses"),
    [
        ("POST /v1/models/{model}/predict", {200, 400, 401, 403, 404, 413, 415, 422, 429, 500, 503, 504}),
        ("POST /v1/predict", {200, 400, 401, 403, 404, 413, 415, 422, 429, 500, 503, 504}),
        ("GET /v1/models", {200}),
        ("GET /v1/models/{model}", {200, 404, 503}),
        ("GET /healthz", {200, 503}),
        ("GET /readyz", {200, 503}),
        ("GET /metrics", {200}),
    ],
)
def test_every_route_tells_every_status(document: Document, operation: str, statuses: set[int]) -> None:
    found = dict(operations(document))[operation]["responses"]
    assert {int(status) for status in found} == statuses


def test_every_error_has_an_example_that_is_a_problem(document: Document) -> None:
    slugs = {error.slug: error for error in vars(errors).values() if hasattr(error, "slug")}
    found = list(problems(document))
    assert len(found) >= 16
    for _, status, content in found:
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
        example = Problem.model_validate(content["example"])
        error = slugs[example.type.removeprefix("urn:offramp:error:")]
        assert (example.status, example.title, error.status) == (status, error.title, status)


def test_a_429_and_a_503_tell_of_their_header(document: Document) -> None:
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            assert "X-Request-Id" in response["headers"], name
            assert ("Retry-After" in response["headers"]) == (status in ("429", "503")), name


@pytest.mark.parametrize("path", PREDICT)
def test_the_budget_is_there_in_every_place(document: Document, path: str) -> None:
    operation = document["paths"][path]["post"]
    by_place: dict[str, set[str]] = {}
    for parameter in operation["parameters"]:
        by_place.setdefault(parameter["in"], set()).add(parameter["name"])
        assert parameter["in"] == "path" or parameter["schema"]["description"]
    assert by_place["query"] == {*KEYS, "explain", "map"}
    assert {name.lower() for name in by_place["header"]} == {f"offramp-{key.replace('_', '-')}" for key in KEYS}
    content = operation["requestBody"]["content"]
    assert set(content) == {
        *map(str, READABLE),
        *map(str, video.READABLE),
        "text/plain",
        "multipart/form-data",
        "application/json",
    }
    assert set(content["application/json"]["schema"]["properties"]["budget"]["properties"]) == KEYS
    assert {*KEYS, "explain"} < set(content["multipart/form-data"]["schema"]["properties"])


def test_the_example_of_a_body_works_as_it_stands(document: Document) -> None:
    content = document["paths"]["/v1/predict"]["post"]["requestBody"]["content"]["application/json"]
    jsonschema_rs.Draft202012Validator(content["schema"]).validate(content["example"])
    (given,) = content["example"]["inputs"]
    picture = ImageSource.open(base64.b64decode(given["image_base64"]))
    assert (picture.width, picture.height) == (1, 1)
    assert picture.glimpse(1, 1).tolist() == [[[255, 0, 0]]]
    assert BudgetFields.model_validate(content["example"]["budget"])
