"""Bodies as they are taken apart: limits, forms, JSON, and bytes that are none of these."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from service.api import bodies
from service.api.bodies import Body, Input
from service.errors import Cancelled, Malformed, RequestError, TooLarge

FORM = "multipart/form-data; boundary=cut"


def part(data: bytes, *, name: str = "file", filename: str | None = "a", kind: str | None = None) -> bytes:
    """One part of a form."""
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    lines = ["--cut", f"Content-Disposition: {disposition}", *([f"Content-Type: {kind}"] if kind else []), "", ""]
    return "\r\n".join(lines).encode() + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--cut--\r\n"


def request(chunks: Sequence[bytes], headers: dict[str, str]) -> Request:
    """A request whose body comes in these chunks; after the last the client is gone."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": chunk, "more_body": place < len(chunks) - 1}
        for place, chunk in enumerate(chunks)
    ]
    messages.append({"type": "http.disconnect"})

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b""}, receive)


def read(
    data: bytes | Sequence[bytes], kind: str | None = None, *, max_bytes: int = 2**20, max_inputs: int = 4, **more: str
) -> Body:
    chunks = [data] if isinstance(data, bytes) else data
    headers = more | ({"Content-Type": kind} if kind else {})
    return asyncio.run(bodies.read(request(chunks, headers), max_bytes=max_bytes, max_inputs=max_inputs))


def read_json(document: Any, **more: Any) -> Body:
    return read(json.dumps(document).encode(), "application/json", **more)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=6), st.sampled_from([None, "image/png", "x/y; z=1"]))
def test_raw_bytes_are_one_input(chunks: list[bytes], kind: str | None) -> None:
    assert read(chunks, kind).inputs == [Input(b"".join(chunks), kind)]


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "3"}, {"Content-Length": "not a number"}])
def test_the_limit_holds_for_what_comes_not_for_what_is_said(headers: dict[str, str]) -> None:
    assert read([b"12", b"34"], max_bytes=4, **headers).inputs[0].data == b"1234"
    with pytest.raises(TooLarge) as refused:
        read([b"12", b"345"], max_bytes=4, **headers)
    assert refused.value.extra["limit"] == 4


def test_a_length_that_is_too_large_is_refused_unread() -> None:
    never_read = request([], {"Content-Length": "5"})
    with pytest.raises(TooLarge, match="5 bytes"):
        asyncio.run(bodies.read(never_read, max_bytes=4, max_inputs=1))


def test_a_client_that_leaves_in_the_middle_is_cancelled() -> None:
    left = request([], {})
    with pytest.raises(Cancelled):
        asyncio.run(bodies.read(left, max_bytes=4, max_inputs=1))


def test_the_clock_starts_with_the_last_byte() -> None:
    before = time.monotonic()
    assert before <= read(b"x").received_at <= time.monotonic()


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4))
def test_files_of_a_form_come_as_they_are_and_in_order(files: list[bytes]) -> None:
    if any(b"--cut" in file for file in files):
        return
    body = read(form(*(part(file, kind="image/png") for file in files)), FORM)
    assert body.inputs == [Input(file, "image/png") for file in files]


def test_fields_of_a_form_are_the_budget() -> None:
    fields = [("latency_ms", b"20"), ("on_miss", b"fail"), ("explain", b"true")]
    body = read(form(part(b"x"), *(part(text, name=name, filename=None) for name, text in fields)), FORM)
    assert body.inputs == [Input(b"x", None)]
    assert body.budget == {"latency_ms": 20.0, "on_miss": "fail"}
    assert body.explain is True


@pytest.mark.parametrize("count", [5, 6, 50])
def test_too_many_files_are_too_many_inputs(count: int) -> None:
    with pytest.raises(TooLarge) as refused:
        read(form(*[part(b"x")] * count), FORM)
    assert refused.value.extra["limit"] == 4


def test_a_form_has_few_and_small_fields() -> None:
    with pytest.raises(Malformed):
        read(form(part(b"x"), *[part(b"1", name="priority", filename=None)] * 33), FORM)
    with pytest.raises(Malformed):
        read(form(part(b"x"), part(b"1" * 70_000, name="priority", filename=None)), FORM)


@given(st.data())
def test_a_form_cut_anywhere_is_refused(data: st.DataObject) -> None:
    whole = form(part(b"first"), part(b"second"))
    cut = data.draw(st.integers(0, len(whole) - 5))
    with pytest.raises(Malformed):
        read(whole[:cut], FORM)


@given(st.data())
def test_a_damaged_form_is_read_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(form(part(b"first"), part(b"7", name="priority", filename=None), part(b"second", kind="a/b")))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        body = read(bytes(damaged), FORM)
    except RequestError as refused:
        assert refused.status in (400, 413)
    else:
        assert 1 <= len(body.inputs) <= 4


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", 'multipart/form-data; boundary=""', FORM + "; charset=nonsense"]
)
def test_a_form_needs_a_boundary(kind: str) -> None:
    if "cut" in kind:
        assert len(read(form(part(b"x")), kind).inputs) == 1
    else:
        with pytest.raises(Malformed):
            read(form(part(b"x")), kind)


@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=4))
def test_json_inputs_come_as_they_are_and_in_order(files: list[bytes]) -> None:
    body = read_json({"inputs": [{"image_base64": base64.b64encode(file).decode()} for file in files]})
    assert body.inputs == [Input(file, None, "image") for file in files]


def test_json_carries_text_budget_and_explain() -> None:
    body = read_json({"inputs": [{"text": "grüße \ud83d\ude00"}], "budget": {"priority": 1}, "explain": True})
    assert body.inputs == [Input("grüße 😀".encode(), "text/plain", "text")]
    assert (body.budget, body.explain) == ({"priority": 1}, True)


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_whatever_is_sent_as_json_is_read_or_refused(data: bytes) -> None:
    with pytest.raises(Malformed):  # none of these is a whole document
        read(data, "application/json")


@pytest.mark.parametrize("key", ["model", "input", "\ud800", "x" * 1000])
def test_an_unknown_key_of_json_is_named(key: str) -> None:
    with pytest.raises(Malformed) as refused:
        read_json({"inputs": [{"text": "x"}], key: 1})
    assert refused.value.extra["key"] == key[:100]
    assert len(refused.value.detail) < 300


@pytest.mark.parametrize("filler", ["0,", "{},", '{"a":0},', '"",', "[],", '"\\\\",'])
def test_json_of_very_many_values_is_refused_before_it_is_read(filler: str) -> None:
    text = '{"inputs": [' + filler * 20_000 + "0]}"
    with pytest.raises(Malformed, match="more than 10000 values"):
        read(text.encode(), "application/json")


def test_what_stands_in_strings_is_no_value() -> None:
    text = ',{[\\"' * 20_000
    assert read_json({"inputs": [{"text": text}]}).inputs[0].data == text.encode()


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '{"inputs": [{"text": "x", "text": "y"}]}'])
def test_a_key_twice_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="stands twice"):
        read(text.encode(), "application/json")


@pytest.mark.parametrize("depth", [500, 4_000])
def test_deep_json_is_refused(depth: int) -> None:
    with pytest.raises(Malformed):
        read(b'{"inputs":' * depth + b"1" + b"}" * depth, "application/json")


def test_base64_is_taken_strictly() -> None:
    for text in ("AAA", "AA AA", "AA\nAA", "AA-_", "é"):
        with pytest.raises(Malformed, match="no base64"):
            read_json({"inputs": [{"image_base64": text}]})
