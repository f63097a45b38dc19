"""What the door reads of a request's head, and when it leaves the judgement to the handler."""

from __future__ import annotations

import pytest
from fastapi import FastAPI

from service.api.front import Front
from service.engine import Engine

IMAGE = [(b"content-type", b"image/jpeg"), (b"content-length", b"900")]
PATH = b"/v1/models/colours/predict"


@pytest.fixture
def front(engine: Engine) -> Front:
    app = FastAPI()
    app.state.engine = engine
    return Front(app)


def test_the_budget_is_read_from_the_query(front: Front) -> None:
    asking = front.asking(b"POST", PATH + b"?explain=true&latency_ms=12.5&priority=1", IMAGE)
    assert asking is not None
    assert (asking.model, asking.patience_s, asking.priority, asking.one_input) == ("colours", 0.0125, 1, True)
    assert asking.urgency_at(100.0) == pytest.approx(100.0 + 0.0125 / 4)


def test_the_budget_is_read_from_headers(front: Front) -> None:
    asking = front.asking(b"POST", PATH, [*IMAGE, (b"offramp-latency-ms", b"20"), (b"offramp-priority", b"7")])
    assert asking is not None
    assert (asking.patience_s, asking.priority) == (0.02, 7)


@pytest.mark.parametrize("query", [b"", b"?latency_ms=nan", b"?latency_ms=-5", b"?xlatency_ms=5", b"?latency_ms=1e3x"])
def test_what_is_no_number_is_left_to_the_handler(front: Front, query: bytes) -> None:
    asking = front.asking(b"POST", PATH + query, IMAGE)
    assert asking is not None
    assert asking.patience_s == front.engine.settings.default_deadline_ms / 1e3


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"content-type", b"application/json"), (b"content-length", b"900")],
        [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"900")],
        [(b"content-type", b"image/png"), (b"transfer-encoding", b"chunked")],
        [(b"content-type", b"image/png"), (b"content-length", b"65537")],
        [(b"content-type", b"image/png"), (b"content-length", b"x")],
    ],
)
def test_only_one_small_input_can_be_judged_by_its_head(front: Front, headers: list[tuple[bytes, bytes]]) -> None:
    asking = front.asking(b"POST", PATH, headers)
    assert asking is not None
    assert not asking.one_input


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"GET", PATH),
        (b"POST", b"/v1/models/no/predict"),
        (b"POST", b"/v1/models/spoilt/predict"),
        (b"POST", b"/v1/predict"),
        (b"POST", b"/v1/models/colours/predict/"),
        (b"POST", b"/v1/models/col%6furs/predict"),
        (b"GET", b"/metrics"),
    ],
)
def test_everything_else_passes(front: Front, method: bytes, target: bytes) -> None:
    assert front.asking(method, target, IMAGE) is None


def test_nothing_is_judged_before_the_models_are_ready(front: Front) -> None:
    front.engine.ready = False
    try:
        assert front.asking(b"POST", PATH, IMAGE) is None
    finally:
        front.engine.ready = True
