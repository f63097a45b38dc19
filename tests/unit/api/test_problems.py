"""Errors as problem documents: complete, escaped, with the headers that belong to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service import errors
from service.api.openapi import PROBLEM
from service.app import build_app
from service.errors import Cancelled, Later, OfframpError, Overloaded, PackageError
from service.settings import Settings

CASES = [error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, OfframpError)]


def made(error: type[OfframpError], detail: str = "a sentence", **extra: Any) -> OfframpError:
    """An error of that type."""
    if issubclass(error, Later):
        return error(detail, retry_after=extra.pop("retry_after", 2.2), **extra)
    return (
        PackageError("file", "field", "problem", "remedy")
        if issubclass(error, PackageError)
        else error(detail, **extra)
    )


def app_that(fail: Callable[[], Any]) -> FastAPI:
    """The real app with one route more, which fails."""
    app = build_app(Settings())

    @app.get("/fail")
    async def route() -> None:
        fail()

    return app


async def get(app: FastAPI, path: str = "/fail", method: str = "GET", **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", trust_env=False) as client:
        return await client.request(method, path, headers=headers)


def raising(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", [case for case in CASES if case is not Cancelled])
async def test_every_error_is_a_problem_of_its_own(error: type[OfframpError]) -> None:
    response = await get(app_that(raising(made(error))))
    shown = response.json()
    assert response.status_code == shown["status"] == error.status
    assert response.headers["content-type"] == PROBLEM
    assert shown["type"] == f"urn:offramp:error:{error.slug}"
    assert (shown["title"], shown["retryable"], shown["instance"]) == (error.title, error.retryable, "/fail")
    assert ("retry-after" in response.headers) == (error.status in (429, 503))


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (2.2, "3"), (60.0, "60")])
async def test_retry_after_is_in_whole_seconds(seconds: float, header: str) -> None:
    response = await get(app_that(raising(Overloaded("full", retry_after=seconds))))
    assert response.headers["retry-after"] == header
    assert response.json()["retry_after"] == seconds


async def test_members_of_an_error_are_shown_and_can_not_hide_the_standard_ones() -> None:
    response = await get(app_that(raising(errors.ImpossibleBudget("no", best=0.9, title="mine", instance="mine"))))
    shown = response.json()
    assert (shown["best"], shown["title"], shown["instance"]) == (0.9, "Impossible budget", "/fail")


async def test_what_is_no_unicode_is_escaped() -> None:
    response = await get(app_that(raising(errors.Malformed("key '\ud800' ü", key="\ud800"))))
    assert response.status_code == 400
    assert json.loads(response.content)["key"] == "\ud800"
    assert "ü" in response.json()["detail"]


async def test_an_unforeseen_error_is_a_problem_that_tells_nothing_of_the_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    response = await get(app_that(raising(ValueError("secret"))), **{"X-Request-Id": "mine"})
    assert (response.status_code, response.headers["content-type"]) == (500, PROBLEM)
    assert response.headers["x-request-id"] == "mine"
    assert "secret" not in response.text
    assert "secret" in caplog.text


async def test_a_client_that_left_gets_an_empty_answer() -> None:
    response = await get(app_that(raising(Cancelled("gone"))))
    assert (response.status_code, response.content) == (499, b"")


async def test_what_the_framework_refuses_is_a_problem_too() -> None:
    app = build_app(Settings())
    missing = await get(app, "/nowhere")
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:offramp:error:not-found")
    wrong = await get(app, "/healthz", "DELETE")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert wrong.json()["type"] == "urn:offramp:error:method-not-allowed"


async def test_before_the_models_are_loaded_a_client_is_told_to_come_back() -> None:
    app = build_app(Settings())
    for path, method in (("/v1/models/x", "GET"), ("/v1/models/x/predict", "POST"), ("/readyz", "GET")):
        response = await get(app, path, method)
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert (await get(app, "/healthz")).status_code == 200
