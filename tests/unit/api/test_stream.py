"""Streams, where a real connection can't be made to leave at the right moment."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fastapi import Request

from service.api import stream
from service.core import Budget
from service.engine import Engine, Sample
from service.errors import Cancelled
from service.media.source import Limits, open_source
from tests.service.wire import RED


async def test_a_client_that_leaves_before_the_first_event_is_cancelled(engine: Engine) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    request = Request({"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}, receive)
    sample = Sample(lambda: open_source("image", RED, None, Limits()), Budget(), time.monotonic())
    with pytest.raises(Cancelled):
        await stream.respond(request, engine, engine.model("colours"), sample)
