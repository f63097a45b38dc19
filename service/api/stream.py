"""Anytime answers: `Accept: text/event-stream` sends an event for each exit as it is reached, then the answer.

Events: `exit` (the answer so far, and what it had cost by then), then `final` (the answer with its receipt) or
`error` (a problem; after the first event the status is sent already). Whoever closes the connection stops the walk at
its next stage, and only what ran is billed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse

from service.answer import Answer
from service.api import problems, render
from service.api.following import follow
from service.api.leaving import gone
from service.core import Reached
from service.engine import Engine, Sample
from service.errors import Cancelled, OfframpError
from service.model import Model
from service.task.base import MapForm

MEDIA_TYPE = "text/event-stream"


def wanted(request: Request) -> bool:
    """Whether the client accepts a stream of events."""
    return MEDIA_TYPE in request.headers.get("accept", "")


async def respond(
    request: Request, engine: Engine, model: Model, sample: Sample, form: MapForm = "runs"
) -> StreamingResponse:
    """A stream of events. It begins with the first one: whatever fails before that is an ordinary problem response.

    Raises:
        OfframpError: as a single answer would; Cancelled when the client leaves before the first event.
    """
    # The framework looks for a closed connection only when it sends; a walk may run for long before the next event.
    events = follow(engine, model, sample, asyncio.ensure_future(gone(request)))
    first = await anext(events, None)
    if first is None:
        raise Cancelled("the client closed the connection")
    # Buffering proxies would hold the events back until the last.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _text(request, first, events, partial(_event, model, form)), media_type=MEDIA_TYPE, headers=headers
    )


async def _text(
    request: Request,
    first: Reached | Answer,
    rest: AsyncIterator[Reached | Answer],
    told: Callable[[Reached | Answer], str],
) -> AsyncIterator[str]:
    try:
        yield told(first)
        async for one in rest:
            yield told(one)
    except OfframpError as error:
        yield _line("error", problems.document(request.url.path, error))


def _event(model: Model, form: MapForm, event: Reached | Answer) -> str:
    if isinstance(event, Answer):
        return _line("final", render.answer(event, form))
    return _line("exit", render.reached(event, model.package, form))


def _line(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
