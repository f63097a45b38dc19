"""One walk, followed exit by exit to its answer: what streams are made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from service.answer import Answer
from service.core import Reached
from service.engine import Engine, Sample
from service.model import Model


async def follow(
    engine: Engine, model: Model, sample: Sample, leaving: asyncio.Future[Any] | None = None
) -> AsyncIterator[Reached | Answer]:
    """The exits of one walk as they are reached, then its answer.

    The walk stops when the iteration is given up, or when `leaving`, owned from here on, is done: its client has gone.

    Raises:
        OfframpError: as a single answer would.
    """
    loop, reached = asyncio.get_running_loop(), asyncio.Queue[Reached | None]()

    def watch(exit_reached: Reached) -> None:
        loop.call_soon_threadsafe(reached.put_nowait, exit_reached)

    walking = asyncio.ensure_future(engine.predict(model, [replace(sample, watcher=watch)]))
    walking.add_done_callback(lambda _: reached.put_nowait(None))
    if leaving is not None:
        leaving.add_done_callback(lambda _: walking.cancel())
    try:
        while (one := await reached.get()) is not None:
            yield one
        if not walking.cancelled():
            yield walking.result()[0]
    finally:
        if leaving is not None:
            leaving.cancel()
        walking.cancel()
