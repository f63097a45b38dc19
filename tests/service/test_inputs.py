"""Every way to send inputs: raw bytes of each kind, multipart, JSON; one and many."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests import packages
from tests.service.wire import BLUE, CLIENT, GREEN, PREDICT, RED, answer, encode, inputs, post, post_json, problem

KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP"]
CURL = "application/x-www-form-urlencoded"
"""What `curl --data-binary` says when nobody chose a type."""


def labels(shown: dict[str, Any]) -> list[str]:
    return [one["output"]["label"] for one in shown["answers"]]


def red(kind: str) -> bytes:
    return encode(packages.plain("red"), kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("declared", ["its own", None, CURL, "application/octet-stream"])
def test_raw_bytes_of_every_kind(colours_server: str, kind: str, declared: str | None) -> None:
    named = f"image/{kind.lower()}" if declared == "its own" else declared
    shown = answer(post(colours_server, red(kind), headers={"Content-Type": named} if named else {}))
    assert shown["output"]["label"] == "red"


@pytest.mark.parametrize("declared", ["image/jpg", "IMAGE/JPEG", "image/jpeg; charset=binary"])
def test_a_type_may_be_spelt_in_many_ways(colours_server: str, declared: str) -> None:
    assert answer(post(colours_server, red("JPEG"), headers={"Content-Type": declared}))["output"]["label"] == "red"


def test_one_file_of_a_form_is_answered_by_one_answer(colours_server: str) -> None:
    files = {"file": ("a.png", GREEN, "image/png")}
    shown = answer(CLIENT.post(f"{colours_server}{PREDICT}", files=files))
    assert shown["output"]["label"] == "green"


def test_many_files_of_a_form_are_answered_in_order(colours_server: str) -> None:
    files = [("file", ("a", file)) for file in (GREEN, red("JPEG"), BLUE, GREEN)]
    shown = answer(CLIENT.post(f"{colours_server}{PREDICT}", files=files))
    assert labels(shown) == ["green", "red", "blue", "green"]


def test_a_file_larger_than_a_megabyte_comes_through_a_form(colours_server: str) -> None:
    large = encode(packages.plain("blue").repeat(90, axis=0).repeat(90, axis=1), "BMP")
    assert len(large) > 2**20
    shown = answer(CLIENT.post(f"{colours_server}{PREDICT}", files={"file": large}))
    assert shown["output"]["label"] == "blue"


def test_one_input_of_json_is_answered_by_one_answer(colours_server: str) -> None:
    assert answer(post_json(colours_server, {"inputs": inputs(BLUE)}))["output"]["label"] == "blue"


def test_many_inputs_of_json_are_answered_in_order(colours_server: str) -> None:
    shown = answer(post_json(colours_server, {"inputs": inputs(BLUE, RED, GREEN)}))
    assert labels(shown) == ["blue", "red", "green"]


def test_json_may_begin_with_a_byte_order_mark(colours_server: str) -> None:
    body = b"\xef\xbb\xbf" + httpx.Request("POST", "http://x", json={"inputs": inputs(RED)}).content
    shown = answer(post(colours_server, body, headers={"Content-Type": "application/json; charset=utf-8"}))
    assert shown["output"]["label"] == "red"


def test_the_default_model_is_chosen_by_modality(colours_server: str) -> None:
    assert answer(post(colours_server, RED, path="/v1/predict"))["model"] == "colours"
    typed = {"Content-Type": "image/png"}
    assert answer(post(colours_server, RED, path="/v1/predict", headers=typed))["model"] == "colours"
    document = {"inputs": inputs(RED)}
    assert answer(CLIENT.post(f"{colours_server}/v1/predict", json=document))["model"] == "colours"


@pytest.mark.parametrize(
    ("body", "declared", "status"),
    [
        (b"", None, 400),
        (b"\x00\x01\x02\x03", None, 400),
        (b"%PDF-1.7 ..", None, 415),
        (b"hello", "text/plain", 415),
        (RED, "video/mp4", 415),
    ],
)
def test_the_default_route_refuses_what_no_model_reads(
    colours_server: str, body: bytes, declared: str | None, status: int
) -> None:
    headers = {"Content-Type": declared} if declared else {}
    problem(post(colours_server, body, path="/v1/predict", headers=headers), status)


def test_as_many_inputs_as_the_limit_are_taken_and_no_more(colours_server: str) -> None:
    url = f"{colours_server}{PREDICT}"
    assert len(answer(post_json(colours_server, {"inputs": inputs(*[RED] * 64)}))["answers"]) == 64
    files = [("file", ("a", RED))] * 64
    assert len(answer(CLIENT.post(url, files=files))["answers"]) == 64
    for extra in (1, 2, 100):
        many = [("file", ("a", RED))] * (64 + extra)
        assert problem(CLIENT.post(url, files=many), 413)["limit"] == 64
    assert problem(post_json(colours_server, {"inputs": inputs(*[RED] * 65)}), 413)["limit"] == 64


def test_the_form_of_a_map_is_one_that_is_known(colours_server: str) -> None:
    assert answer(post(colours_server, RED, path=f"{PREDICT}?map=png"))["output"]["label"] == "red"
    for query in ("map=svg", "map=runs&map=png"):
        assert "map=" in problem(post(colours_server, RED, path=f"{PREDICT}?{query}"), 400)["detail"]
