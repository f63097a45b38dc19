"""Glimpses: made in decode threads whenever a walker stands at a stage that asks for some."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.answer import Answer
from service.core import Walker
from service.errors import NotReady, OfframpError, StageFailed
from service.executor import Executor
from service.media.source import Source
from service.model import Model
from service.package.glimpses import Glimpse
from service.package.load import Package

log = logging.getLogger(__name__)


def look(package: Package, walker: Walker, source: Source) -> None:
    """Make the glimpses of the stage that a walker stands at, where its router wants them. Belongs on a decode thread.

    Raises:
        RequestError: the input turns out to be damaged there.
    """
    stage = package.stage(walker.stage)
    for name, glimpse in stage.glimpses.items():
        views = source.look(glimpse, _where(glimpse, walker.look))
        walker.glimpses[name] = views[0] if stage.ragged is None else views
        walker.ledger.glimpses += len(views)


def _where(glimpse: Glimpse, wanted: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    """Where a glimpse is taken, float32 [rows, coordinates]: where the router wants it, else where the stage says."""
    return wanted if glimpse.coordinates and wanted is not None else glimpse.default


class Lookout:
    """Sends walkers for their glimpses, and on from there."""

    def __init__(self, models: Mapping[str, Model], threads: ThreadPoolExecutor, executor: Executor) -> None:
        self._models, self._threads, self._executor = models, threads, executor

    def send(self, walker: Walker) -> None:
        """A walker needs glimpses: they are made as soon as a thread is free."""
        try:
            self._threads.submit(self._go, walker)
        except RuntimeError:  # the pool is shut down
            self._executor.lose(walker, NotReady("the server stopped before the walk ended"))

    def _go(self, walker: Walker) -> None:
        start, source = time.monotonic(), walker.source
        try:
            if source is None:
                raise Gone
            look(self._models[walker.model].package, walker, source)
        except Gone:
            self._executor.arrive(walker, 0.0)
            return
        except Exception as error:
            log.warning("a glimpse for %s could not be made: %s", walker.model, error)
            told = error if isinstance(error, OfframpError) else StageFailed(f"glimpse failed: {type(error).__name__}")
            self._executor.lose(walker, told)
            return
        seconds = time.monotonic() - start
        walker.ledger.decode_s += seconds
        self._executor.arrive(walker, seconds)


class Gone(Exception):
    """Its walk ended while it waited for a thread."""


def explained(answer: Answer, walker: Walker) -> Answer:
    """The answer with what was seen at each stage, and a picture of it. Belongs on a decode thread."""
    source: Source | None = walker.source
    walker.source = None
    if source is None or answer.trace is None:
        return answer
    seen = [_seen(source, answer.package, step.place, step.look) for step in answer.trace]
    return dataclasses.replace(answer, seen=seen, picture=source.picture([one for step in seen for one in step]))


def _seen(source: Source, package: Package, place: int, wanted: NDArray[np.float32] | None) -> list[dict[str, Any]]:
    """What each glimpse of a stage showed, in the source's words; or what it was about, where it takes none."""
    stage, first = package.stage(place), package.stage(0)
    if wanted is not None and stage.ragged and not stage.glimpses:
        # Its rows come from states, but the router says where in the input they are: as the first stage saw that.
        return source.tells(next(iter(first.glimpses.values())), wanted)
    return [one for glimpse in stage.glimpses.values() for one in source.tells(glimpse, _where(glimpse, wanted))]
