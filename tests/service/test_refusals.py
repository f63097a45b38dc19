"""Broken, truncated, huge and mislabelled bodies get the right 4xx, and the server goes on."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.conftest import StartServer
from tests.service.wire import (
    CLIENT,
    GREEN,
    PREDICT,
    RED,
    TIMEOUT_S,
    answer,
    connection,
    encode,
    inputs,
    post,
    post_json,
    problem,
    read_response,
    request_bytes,
)

JSON = {"Content-Type": "application/json"}
NOISE = np.random.default_rng(3).integers(0, 256, (48, 48, 3), np.uint8)
BOUNDARY = "multipart/form-data; boundary=cut"


@pytest.fixture(autouse=True)
def goes_on(colours_server: str) -> Iterator[None]:
    """Whatever a test sent: the server answers afterwards."""
    yield
    assert answer(post(colours_server, GREEN))["output"]["label"] == "green"


@pytest.fixture(scope="module")
def strict(start_server: StartServer, colours: Any) -> Iterator[str]:
    """A server with limits that are easy to pass."""
    limits = {"OFFRAMP_MAX_BODY_BYTES": "65536", "OFFRAMP_MAX_INPUTS": "2", "OFFRAMP_MAX_PIXELS": "10000"}
    with start_server("--models", str(colours), **limits) as url:
        yield url


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_truncated_picture_is_malformed(colours_server: str, kind: str) -> None:
    whole = encode(NOISE, kind)
    assert answer(post(colours_server, whole))
    cuts = sorted({0, 1, 2, 4, 8, 16, 24, 32, *np.linspace(33, len(whole) * 9 // 10, 12).astype(int).tolist()})
    with httpx.Client(base_url=colours_server, timeout=TIMEOUT_S, trust_env=False) as client:
        for cut in cuts:
            typed = {"Content-Type": f"image/{kind.lower()}"}
            problem(client.post(PREDICT, content=whole[:cut], headers=typed), 400)


def test_damaged_bytes_never_break_the_server(colours_server: str) -> None:
    rng = np.random.default_rng(4)
    with httpx.Client(base_url=colours_server, timeout=TIMEOUT_S, trust_env=False) as client:
        for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
            for _ in range(12):
                data = bytearray(encode(NOISE, kind))
                for place in rng.integers(0, len(data), 8):
                    data[place] = rng.integers(256)
                response = client.post(PREDICT, content=bytes(data))
                if response.status_code != 200:  # some damage only changes pixels
                    assert response.status_code in (400, 413, 415), response.text
                    problem(response, response.status_code)


@pytest.mark.parametrize(
    ("body", "declared", "status"),
    [
        (encode(NOISE, "JPEG"), "image/png", 415),
        (RED, "image/webp", 415),
        (RED, "text/plain", 415),
        (RED, "application/pdf", 415),
        (RED, "video/mp4", 415),
        (RED, "nonsense", 415),
        (RED, "image/tiff", 415),
        (b"%PDF-1.7 ..", None, 415),
        (b"PK\x03\x04 ..", None, 415),
        (b"\x00\x00\x00\x18ftypisom ..", None, 415),
        (b"II*\x00 ..", None, 415),
        (b"", None, 400),
        (b"", "image/png", 400),
        (b"hello", "image/png", 400),
        (b"hello", None, 415),
        (bytes(1000), None, 400),
        (b"\xff" * 1000, "image/jpeg", 400),
        (b"{}", "application/x-www-form-urlencoded", 415),
    ],
)
def test_a_body_that_is_not_what_it_has_to_be(
    colours_server: str, body: bytes, declared: str | None, status: int
) -> None:
    problem(post(colours_server, body, headers={"Content-Type": declared} if declared else {}), status)


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and has next to no pixels."""
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", size), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def test_a_picture_of_too_many_pixels_is_refused_by_its_header(colours_server: str, strict: str) -> None:
    assert problem(post(colours_server, png_header(60_000, 60_000)), 413)["limit"] == 50_000_000
    assert problem(post(strict, png_header(101, 100)), 413)["limit"] == 10_000


def test_a_body_that_announces_too_much_is_refused_before_it_comes(strict: str) -> None:
    with connection(strict) as wire, wire.makefile("rb") as source:
        wire.sendall(request_bytes(b"", length=65_537))
        refused = read_response(source)
    assert refused.status == 413
    assert json.loads(refused.body)["limit"] == 65_536


def test_a_chunked_body_is_refused_once_it_passes_the_limit(strict: str) -> None:
    piece = b"1000\r\n" + bytes(0x1000) + b"\r\n"
    with connection(strict) as wire, wire.makefile("rb") as source:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
        wire.sendall(head.encode() + piece * 17)  # the end never comes
        assert read_response(source).status == 413


def test_a_chunked_body_within_the_limit_is_taken(strict: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield RED[:10]
        yield RED[10:]

    response = CLIENT.post(f"{strict}{PREDICT}", content=pieces())
    assert response.request.headers["transfer-encoding"] == "chunked"
    assert answer(response)["output"]["label"] == "red"


def test_limits_hold_for_forms_and_json(strict: str) -> None:
    large = bytes(65_537)
    problem(CLIENT.post(f"{strict}{PREDICT}", files={"file": large}), 413)
    problem(post_json(strict, {"inputs": inputs(large)}), 413)
    assert problem(post_json(strict, {"inputs": inputs(RED, RED, RED)}), 413)["limit"] == 2
    three = [("file", ("a", RED))] * 3
    assert problem(CLIENT.post(f"{strict}{PREDICT}", files=three), 413)["limit"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"inputs"',
        "{",
        "{}",
        '{"inputs": []}',
        '{"inputs": {}}',
        '{"inputs": [1]}',
        '{"inputs": [{}]}',
        '{"inputs": [{"image_base64": 1}]}',
        '{"inputs": [{"image_base64": null}]}',
        '{"inputs": [{"image_base64": "not base64!"}]}',
        '{"inputs": [{"image_base64": "\\u00e4"}]}',
        '{"inputs": [{"image_base64": ""}]}',
        '{"inputs": [{"image_base64": "AAAA"}]}',
        '{"inputs": [{"image_base64": "AAAA", "text": "x"}]}',
        '{"inputs": [{"audio_base64": "AAAA"}]}',
        '{"inputs": [{"image_base64": "AAAA"}], "inputs": []}',
        '{"inputs": [{"image_base64": "AAAA"}], "budget": []}',
        '{"inputs": [{"image_base64": "AAAA"}], "budget": null}',
        '{"inputs": [{"image_base64": "AAAA"}], "explain": 1}',
        '{"inputs": [{"image_base64": "AAAA"}], "\\ud800": 1}',
        '{"inputs": [{"image_base64": "AAAA"}], "budget": {"\\ud800": 1}}',
        '{"inputs": [{"image_base64": "AAAA"}], "budget": {"on_miss": "\\ud800"}}',
        '{"inputs": NaN}',
        '{"inputs": ' + "9" * 5000 + "}",
        "[" * 200_000,
        '{"inputs":' * 9_000,
        "[" * 9_000 + "]" * 9_000,
        '{"inputs": [' + "{}," * 200_000 + "{}]}",
    ],
    ids=lambda text: text[:60],
)
def test_json_that_is_not_as_it_has_to_be(colours_server: str, text: str) -> None:
    problem(post(colours_server, text.encode(), headers=JSON), 400)


@pytest.mark.parametrize("body", [b"\xff\xfe{", b'{"inputs": "\xc3"}', '{"inputs": []}'.encode("utf-16")])
def test_json_that_is_no_utf8(colours_server: str, body: bytes) -> None:
    assert "utf-8" in problem(post(colours_server, body, headers=JSON), 400)["detail"].lower()


def test_many_commas_within_a_string_are_no_values(colours_server: str) -> None:
    document = {"inputs": [{"text": ",[{" * 20_000 + '\\"' * 100}]}
    problem(post_json(colours_server, document), 415)  # read well; it is a picture that is wanted


@pytest.mark.parametrize("given", [{"text": "hello"}, {"video_base64": base64.b64encode(RED).decode()}])
def test_json_of_another_modality(colours_server: str, given: dict[str, str]) -> None:
    problem(post_json(colours_server, {"inputs": [given]}), 415)


def test_one_bad_input_of_several_fails_the_request(colours_server: str) -> None:
    problem(post_json(colours_server, {"inputs": inputs(RED, RED[:40], GREEN)}), 400)


@pytest.mark.parametrize(
    ("body", "declared"),
    [
        (b"", BOUNDARY),
        (b"--cut--\r\n", BOUNDARY),
        (b"nonsense", BOUNDARY),
        (b"", "multipart/form-data"),
        (b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + RED, BOUNDARY),
        (b'--cut\r\nContent-Disposition: form-data; filename="a"\r\n\r\n' + RED + b"\r\n--cut--\r\n", BOUNDARY),
        (b'--cut\r\nContent-Disposition: form-data; name="latency_ms"\r\n\r\n20\r\n--cut--\r\n', BOUNDARY),
    ],
)
def test_a_form_that_can_not_be_read(colours_server: str, body: bytes, declared: str) -> None:
    problem(post(colours_server, body, headers={"Content-Type": declared}), 400)


def test_a_form_cut_off_in_its_second_file_is_not_taken_for_one_file(colours_server: str) -> None:
    request = httpx.Request("POST", "http://x", files=[("file", ("a", RED)), ("file", ("b", GREEN))])
    typed = {"Content-Type": request.headers["content-type"]}
    body = request.read()
    assert len(answer(post(colours_server, body, headers=typed))["answers"]) == 2
    for cut in range(len(body) - 200, len(body) - 4, 12):
        problem(post(colours_server, body[:cut], headers=typed), 400)


def test_an_unknown_model_is_named_with_those_there_are(colours_server: str) -> None:
    refused = problem(post(colours_server, path="/v1/models/resnet/predict"), 404)
    assert refused["models"] == ["colours"]
    assert "resnet" in refused["detail"]
    problem(CLIENT.get(f"{colours_server}/v1/models/resnet"), 404)
    problem(post(colours_server, path="/v1/models/%ff%00%F0/predict"), 404)


def test_an_unknown_route_is_a_problem_too(colours_server: str) -> None:
    assert problem(CLIENT.get(f"{colours_server}/v1/nowhere"), 404)["type"] == "urn:offramp:error:not-found"
