"""The engine: models loaded and warm, lanes running, one coroutine a sample from bytes to answer.

It knows walks, not HTTP: the API, `offramp explain` and the benchmark all drive this class.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.admission import admit
from service.answer import Answer
from service.core import Budget, OnMiss, Outcome, Walker, Watcher
from service.errors import Cancelled, DeadlinePassed, NotReady, Overloaded, PackageError, UnknownModel
from service.executor import Executor
from service.media.source import Source
from service.model import Model, find, prepare
from service.runtime.onnx import OnnxRunner, check_install
from service.scheduler.batch import Batch, Ended
from service.scheduler.conductor import Conductor
from service.settings import Settings
from service.telemetry import Metrics
from service.turnstile import Turnstile

log = logging.getLogger(__name__)

_LIGHT_PIXELS = 16_384
"""A picture of no more pixels is decoded on the event loop: in less than the 0.1 ms that a thread hop costs."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One input: how to open it (in a decode thread), what is wanted of it, and who follows it exit by exit."""

    open: Callable[[], Source]
    budget: Budget
    arrived_at: float
    explain: bool = False
    watcher: Watcher | None = None
    light: bool = False
    """So few bytes that opening them takes less than handing them to a thread would."""


@dataclass(frozen=True, slots=True)
class Walked:
    """A walk that came to an answer. It counts as answered only when every input of its request has one."""

    walker: Walker
    outcome: Outcome
    answer: Answer


@dataclass
class Engine:
    """Serves the packages in `settings.models`."""

    settings: Settings
    metrics: Metrics = field(default_factory=Metrics.new)
    models: dict[str, Model] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    turnstile: Turnstile = field(default_factory=Turnstile)
    withdrawn: set[str] = field(default_factory=set)
    """Models that take no new work until they are put back; what they have is finished."""
    ready: bool = False

    def load(self) -> None:
        """Load and warm every package; one that fails is noted and left out. Blocks for seconds.

        Raises:
            SettingsError: no ONNX Runtime, two of them, or not the device that was asked for.
            PackageError: a models folder that doesn't exist.
        """
        check_install()
        for path in find(self.settings.models):
            self._load(path)
        self._runners = [OnnxRunner() for _ in range(self.settings.lanes)]
        for model in self.models.values():
            for runner, sessions in zip(self._runners, model.lanes, strict=True):
                runner.add(model.name, sessions)

    def start(self) -> None:
        """Start the lanes; from now on requests are served."""
        courses = {name: model.course for name, model in self.models.items()}
        conductor = Conductor(courses, lanes=self.settings.lanes)
        self.metrics.price.set_function(lambda: conductor.market.price)
        routers = {name: model.router for name, model in self.models.items()}
        self._executor = Executor(conductor, routers, self._runners, on_batch=self._count_batch, on_ended=self._deliver)
        self._decoders = ThreadPoolExecutor(self.settings.decode_threads, thread_name_prefix="decode")
        for name, course in courses.items():
            self.turnstile.expect(name, sum(times.seconds(1) for times in course.times))
        self._executor.start()
        self.ready = True

    @property
    def dead_lanes(self) -> list[str]:
        """Lanes that ended by an error: what a liveness probe should restart the process for."""
        return self._executor.dead if self.ready else []

    def stop(self) -> None:
        """Finish the accepted work and end the threads. Blocks up to `settings.drain_s`."""
        self.ready = False
        self._decoders.shutdown(wait=True)
        self._executor.stop(self.settings.drain_s)

    def model(self, name: str) -> Model:
        """A model by name.

        Raises:
            NotReady: still starting, or the model failed to load (with the reason).
            UnknownModel: no package of that name.
        """
        if name in self.failed and name not in self.models:
            raise NotReady(f"model {name!r} failed to load: {self.failed[name]}")
        if not self.ready:
            raise NotReady("the server is starting or stopping")
        if name not in self.models:
            raise UnknownModel(f"no model {name[:100]!r}; there are {sorted(self.models)}", models=sorted(self.models))
        if name in self.withdrawn:
            raise NotReady(f"model {name!r} is unloaded")
        return self.models[name]

    def withdraw(self, name: str) -> None:
        """Take no new work for a model; what it has is finished.

        Raises:
            NotReady, UnknownModel: see `model`.
        """
        self.model(name)
        self.withdrawn.add(name)

    def put_back(self, name: str) -> None:
        """Take work again for a model that was withdrawn.

        Raises:
            NotReady, UnknownModel: see `model`.
        """
        self.withdrawn.discard(name)
        self.model(name)

    def default(self, modality: str) -> Model:
        """The first model, by name, that reads a modality.

        Raises:
            NotReady: still starting.
            UnknownModel: no model reads it.
        """
        for name in sorted(self.models):
            if name not in self.withdrawn and self.models[name].package.manifest.modality == modality:
                return self.model(name)
        raise NotReady("the server is starting") if not self.ready else UnknownModel(f"no model reads {modality}")

    def crowded(self, name: str, urgency_at: float, arrived_at: float, patience_s: float) -> Overloaded | None:
        """Why an input can't come in, counted as refused: too many more urgent ones are inside. None: it can."""
        late = self.turnstile.lateness(urgency_at, arrived_at, patience_s, time.monotonic())
        if late <= 0:
            return None
        self.models[name].telemetry.refused(Overloaded.slug)
        return _crowded(late)

    async def predict(self, model: Model, samples: Sequence[Sample]) -> list[Answer]:
        """Answers in the order of the samples. All are let in, or none, before any is decoded.

        Raises:
            OfframpError: the first error of any sample; the others' walks are then cancelled.
        """
        walkers = self._let_in(model, samples)
        try:
            walks = [self._walk(model, *one) for one in zip(samples, walkers, strict=True)]
            walked = [await walks[0]] if len(walks) == 1 else await self._together(walks)
        except BaseException:
            for walker in walkers:
                # A walk that was cancelled before its first step could do nothing about its place.
                self._turn_back(model, walker, Cancelled("its request ended before it began"))
            raise
        spent = sum(walker.ledger.device_s for walker in walkers)
        spare = max(0.0, spent - len(walkers) * model.course.cheapest_s) / self.settings.lanes
        self.turnstile.answered(model.name, walkers[0].arrived_at, time.monotonic(), spare)
        for one in walked:
            model.telemetry.answered(one.walker, one.outcome, seconds=one.answer.seconds, budgets=one.answer.kept)
        return [one.answer for one in walked]

    async def _together(self, walks: Sequence[Coroutine[Any, Any, Walked]]) -> list[Walked]:
        """All or nothing: the first error ends the others, and answers that are there already go to nobody."""
        tasks = [asyncio.ensure_future(walk) for walk in walks]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                if task.done() and not task.cancelled() and task.exception() is None:
                    self._unheard(task.result().walker)
                task.cancel()
            raise

    def _let_in(self, model: Model, samples: Sequence[Sample]) -> list[Walker]:
        """A slot for each walker's state and a place in the queue's time: for all of a request, or for none.

        Raises:
            OfframpError: why not; every input is counted as refused for it.
        """
        walkers: list[Walker] = []
        try:
            for sample in samples:
                walkers.append(self._walker(model, sample))
            self._check_crowd(walkers)
            for walker in walkers:
                walker.slot = self._slot(model)
            self._executor.admit(walkers)
        except Exception as error:
            for walker in walkers:
                if walker.slot >= 0:
                    model.pool.give_back(walker.slot)
            for _ in samples:
                model.telemetry.dropped(error)
            raise
        for walker in walkers:
            walker.audit = model.auditor.draw()
        return walkers

    def _walker(self, model: Model, sample: Sample) -> Walker:
        terms = admit(
            sample.budget,
            model.auditor,
            model.package,
            arrived_at=sample.arrived_at,
            default_deadline_s=self.settings.default_deadline_ms / 1e3,
            reserve_s=self.turnstile.reserve_s,
        )
        walker = Walker(model.name, terms, sample.arrived_at, {}, _nobody, trace=[] if sample.explain else None)
        walker.watcher = sample.watcher
        return walker

    def _check_crowd(self, walkers: Sequence[Walker]) -> None:
        """As at the door, for those whose budget was in the body; the others were asked already."""
        terms, came = walkers[0].terms, walkers[0].arrived_at
        late = self.turnstile.lateness(terms.urgency_at, came, terms.due.at - came, time.monotonic())
        if late > 0:
            raise _crowded(late)

    def _slot(self, model: Model) -> int:
        slot = model.pool.take()
        if slot is None:
            raise Overloaded(f"{self.settings.max_in_flight} walkers are in flight", retry_after=1.0)
        return slot

    async def _walk(self, model: Model, sample: Sample, walker: Walker) -> Walked:
        try:
            await self._decode(model, sample, walker)
        except BaseException as error:
            self._turn_back(model, walker, error)
            raise
        outcome = await self._finish(walker)
        return Walked(walker, outcome, self._conclude(model, sample, walker, outcome))

    def _turn_back(self, model: Model, walker: Walker, error: BaseException) -> None:
        """A walker that was let in, but never came to the lanes, gives up its place. Once; else it does nothing."""
        if walker.done or walker.ticket >= 0:
            return
        self._executor.withdraw(walker)
        model.pool.give_back(walker.slot)
        if walker.audit:
            model.auditor.close(walker.audit)
        model.telemetry.dropped(error)

    async def _decode(self, model: Model, sample: Sample, walker: Walker) -> None:
        """Open the input and make the glimpses that the first stage asks for, off the event loop unless that would cost
        more than the decoding.
        """
        start = time.monotonic()
        wanted = model.package.manifest.stages[0].glimpses

        def look(source: Source) -> None:
            for name, glimpse in wanted.items():
                walker.glimpses[name] = source.glimpse(glimpse.height, glimpse.width)

        source = sample.open() if sample.light else None
        if source is not None and source.area <= _LIGHT_PIXELS:
            look(source)
        else:
            await asyncio.get_running_loop().run_in_executor(self._decoders, lambda: look(source or sample.open()))
        walker.ledger.glimpses += len(wanted)
        walker.ledger.decode_s += time.monotonic() - start

    async def _finish(self, walker: Walker) -> Outcome:
        """Let the walker walk. A cancelled caller cancels the walk, which then ends at its next stage."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Outcome] = loop.create_future()

        def listen(_: Walker, outcome: Outcome) -> None:
            loop.call_soon_threadsafe(self._hear, ended, walker, outcome)

        walker.listener = listen
        self._executor.submit(walker)
        try:
            return await ended
        except asyncio.CancelledError:
            self._executor.cancel(walker)
            if ended.done() and not ended.cancelled() and ended.result().error is None:
                self._unheard(walker)
            raise

    def _hear(self, ended: asyncio.Future[Outcome], walker: Walker, outcome: Outcome) -> None:
        if not ended.done():
            ended.set_result(outcome)
        elif outcome.error is None:
            self._unheard(walker)

    def _unheard(self, walker: Walker) -> None:
        """A walk came to an answer that nobody takes: its client left in that moment, or a sibling failed."""
        error = Cancelled("nobody takes the answer")
        self.models[walker.model].telemetry.dropped(error, walker.ledger.macs)

    def _conclude(self, model: Model, sample: Sample, walker: Walker, outcome: Outcome) -> Answer:
        if outcome.error is not None:
            raise outcome.error
        now = time.monotonic()
        self.turnstile.told(now - outcome.finished_at)
        answer = Answer.of(model.package, sample.budget, walker, outcome, now)
        if sample.budget.on_miss is OnMiss.FAIL and not answer.kept.get("latency_ms", True):
            late = DeadlinePassed("the answer was ready only after the deadline")
            model.telemetry.dropped(late, walker.ledger.macs)
            raise late
        return answer

    def _count_batch(self, batch: Batch, seconds: float) -> None:
        self.models[batch.model].telemetry.batch(batch.stage, len(batch.walkers), seconds, batch.release.value)

    def _deliver(self, ended: Ended) -> None:
        """Called by lanes: free the walker's slot, book its ledger, tell whoever waits."""
        walker, model = ended.walker, self.models[ended.walker.model]
        followed = walker.slot < 0
        if followed and not walker.shadow:
            model.pool.park()
        elif not followed:
            model.pool.give_back(walker.slot, parked=walker.shadow)
        model.telemetry.ended(walker, ended.outcome)
        walker.listener(walker, ended.outcome)
        if walker.audit and not followed:
            model.auditor.close(walker.audit)

    def _load(self, path: Path) -> None:
        try:
            model = prepare(path, self.settings, self.metrics)
        except PackageError as error:
            log.error("package %s is left out: %s", path.name, error.detail)
            self.failed[path.name] = error.detail
            return
        if model.name in self.models:
            log.error("package %s is left out: %s is served already", path, model.name)
            return
        self.models[model.name] = model
        log.info("loaded %s %s: %s", model.name, model.package.manifest.version, _stage_table(model))


def _crowded(late_s: float) -> Overloaded:
    return Overloaded("more urgent requests are inside than can be answered in time", retry_after=late_s)


def _stage_table(model: Model) -> str:
    """Each stage with its MACs and its measured time for one row, as logged at load."""
    graph, times = model.course.graph, model.course.times
    stages = zip(graph.names, graph.macs, times, strict=True)
    return ", ".join(f"{name} {macs / 1e6:.1f} MMACs {time.seconds(1) * 1e3:.2f} ms" for name, macs, time in stages)


def _nobody(_: Walker, __: Outcome) -> None:
    """Listener of a walker that was not submitted yet."""
