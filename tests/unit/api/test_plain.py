"""Which requests are read without a parser: none that a parser would read otherwise."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.plain import Plain, plain

HEAD = b"POST /v1/models/colours/predict?latency_ms=5 HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
BODY = b"\x89PNG\r\n\r\n"
WHOLE = HEAD + b"Content-Length: 8\r\n\r\n" + BODY


class Parsed:
    """What uvicorn's parser makes of the bytes."""

    def __init__(self, data: bytes) -> None:
        self.url, self.body, self.complete = b"", b"", 0
        self.headers: list[tuple[bytes, bytes]] = []
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(data)
        self.method, self.version, self.keeps = (
            parser.get_method(),
            parser.get_http_version(),
            parser.should_keep_alive(),
        )

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1


def test_a_whole_request_is_read() -> None:
    found = plain(WHOLE)
    assert found is not None
    assert found.target == b"/v1/models/colours/predict?latency_ms=5"
    assert found.headers == [(b"host", b"x"), (b"content-type", b"image/png"), (b"content-length", b"8")]


@pytest.mark.parametrize(
    "data",
    [
        WHOLE[:-1],
        WHOLE + b"P",
        WHOLE + WHOLE,
        HEAD + b"\r\n" + BODY,
        HEAD,
        WHOLE.replace(b"POST", b"GET"),
        WHOLE.replace(b"1.1", b"1.0"),
        WHOLE.replace(b"Host: x", b"Connection: close"),
        WHOLE.replace(b"Host: x", b"Expect: 100-continue"),
        WHOLE.replace(b"Host: x", b"Transfer-Encoding: chunked"),
        WHOLE.replace(b"Host: x", b"Upgrade: websocket"),
        WHOLE.replace(b"Host: x", b"Content-Length: 8"),
        WHOLE.replace(b"Host: x", b"Host : x"),
        WHOLE.replace(b"Host: x", b"Host: x\r\n folded"),
        WHOLE.replace(b"Host: x\r\n", b"Host: x\n"),
        b"",
    ],
)
def test_anything_else_is_left_to_the_parser(data: bytes) -> None:
    assert plain(data) is None


@given(
    st.lists(
        st.sampled_from([HEAD, WHOLE, BODY, b"Content-Length: 8\r\n\r\n", b"A: b \r\n", b"\r\n", b"x" * 8]), max_size=5
    )
)
def test_a_parser_reads_the_same(parts: list[bytes]) -> None:
    data = b"".join(parts)
    found = plain(data)
    if found is not None:
        parsed = Parsed(data)
        assert (parsed.method, parsed.version, parsed.keeps, parsed.complete) == (b"POST", "1.1", True, 1)
        assert found == Plain(parsed.url, parsed.headers)
        assert data.endswith(parsed.body)
