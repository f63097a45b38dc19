"""HTTP itself: methods, `Allow`, HEAD, OPTIONS, `Expect`, connections that live on."""

from __future__ import annotations

import httpx
import pytest

from tests.service.wire import (
    CLIENT,
    GREEN,
    PREDICT,
    RED,
    TIMEOUT_S,
    answer,
    connection,
    post,
    problem,
    read_response,
    request_bytes,
)

READ = ["/healthz", "/readyz", "/metrics", "/v1/models", "/v1/models/colours", "/openapi.json", "/docs"]
WRITE = [PREDICT, "/v1/predict"]


@pytest.mark.parametrize("path", READ)
def test_head_is_get_without_the_body(colours_server: str, path: str) -> None:
    head, get = CLIENT.head(f"{colours_server}{path}"), CLIENT.get(f"{colours_server}{path}")
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/metrics":  # grows with what it counts
        assert head.headers["content-length"] == get.headers["content-length"]


def test_head_leaves_the_connection_usable(colours_server: str) -> None:
    with httpx.Client(base_url=colours_server, timeout=TIMEOUT_S, trust_env=False) as client:
        for _ in range(3):
            assert client.head("/v1/models").status_code == 200
            assert client.get("/healthz").text == "ok\n"


@pytest.mark.parametrize(("path", "allow"), [(READ[0], "GET, HEAD, OPTIONS"), (READ[4], "GET, HEAD, OPTIONS")])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_what_can_only_be_read(colours_server: str, path: str, allow: str, method: str) -> None:
    response = CLIENT.request(method, f"{colours_server}{path}")
    assert problem(response, 405)["type"] == "urn:offramp:error:method-not-allowed"
    assert response.headers["allow"] == allow


@pytest.mark.parametrize("path", WRITE)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_what_can_only_be_posted(colours_server: str, path: str, method: str) -> None:
    response = CLIENT.request(method, f"{colours_server}{path}")
    problem(response, 405)
    assert response.headers["allow"] == "OPTIONS, POST"


def test_head_of_what_can_only_be_posted_is_refused_without_a_body(colours_server: str) -> None:
    response = CLIENT.head(f"{colours_server}{PREDICT}")
    assert (response.status_code, response.content, response.headers["allow"]) == (405, b"", "OPTIONS, POST")


@pytest.mark.parametrize(("path", "allow"), [(READ[3], "GET, HEAD, OPTIONS"), (PREDICT, "OPTIONS, POST")])
def test_options_tells_what_is_allowed(colours_server: str, path: str, allow: str) -> None:
    response = CLIENT.options(f"{colours_server}{path}")
    assert (response.status_code, response.headers["allow"], response.content) == (204, allow, b"")
    assert response.headers["x-request-id"]


def test_options_of_an_unknown_path_is_404(colours_server: str) -> None:
    problem(CLIENT.options(f"{colours_server}/v1/nowhere"), 404)


def test_expect_100_continue_gets_its_go_ahead(colours_server: str) -> None:
    """What curl sends before a body of more than a megabyte."""
    with connection(colours_server) as wire, wire.makefile("rb") as source:
        wire.sendall(request_bytes(b"", "Expect: 100-continue", length=len(RED)))
        assert read_response(source).status == 100
        wire.sendall(RED)
        assert read_response(source).status == 200


def test_expect_100_continue_of_too_much_gets_413_at_once(colours_server: str) -> None:
    with connection(colours_server) as wire, wire.makefile("rb") as source:
        wire.sendall(request_bytes(b"", "Expect: 100-continue", length=2**40))
        assert read_response(source).status == 413


def test_a_connection_lives_on_after_413(colours_server: str) -> None:
    large = bytes(20 * 2**20 + 1)
    with connection(colours_server) as wire, wire.makefile("rb") as source:
        for _ in range(2):
            wire.sendall(request_bytes(large))
            assert read_response(source).status == 413
            wire.sendall(request_bytes(GREEN))
            assert read_response(source).status == 200


def test_a_connection_lives_on_after_other_refusals(colours_server: str) -> None:
    with httpx.Client(base_url=colours_server, timeout=TIMEOUT_S, trust_env=False) as client:
        for status, path, body in ((400, PREDICT, b"\0"), (404, "/v1/models/no/predict", RED), (405, "/healthz", RED)):
            problem(client.post(path, content=body), status)
            assert answer(client.post(PREDICT, content=GREEN))["output"]["label"] == "green"


def test_pipelined_requests_are_answered_in_order(colours_server: str) -> None:
    with connection(colours_server) as wire, wire.makefile("rb") as source:
        wire.sendall(request_bytes(RED) + request_bytes(b"\0") + request_bytes(GREEN))
        assert [read_response(source).status for _ in range(3)] == [200, 400, 200]


def test_the_root_is_the_playground_and_leads_to_the_documentation(colours_server: str) -> None:
    page = CLIENT.get(f"{colours_server}/")
    assert page.headers["content-type"].startswith("text/html")
    assert 'href="docs"' in page.text
    for file in ("playground.js", "playground.css"):
        assert file in page.text
        assert CLIENT.get(f"{colours_server}/{file}").status_code == 200


def test_nothing_is_shared_with_other_origins(colours_server: str) -> None:
    response = post(colours_server, RED, headers={"Origin": "https://elsewhere.example"})
    assert not [name for name in response.headers if name.startswith("access-control-")]
