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
from service.core import Budget, OnMiss, Outcome, Terms, Walker, Watcher
from service.errors import Cancelled, DeadlinePassed, NotReady, OfframpError, Overloaded, PackageError, UnknownModel
from service.executor import Executor
from service.media.source import Source
from service.model import Model, find, prepare
from service.runtime.onnx import OnnxRunner, check_install
from service.scheduler.conductor import Batch, Conductor, Ended
from service.settings import Settings
from service.telemetry import Metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """One input: how to open it (in a decode thread), what is wanted of it, and who follows it exit by exit."""

    open: Callable[[], Source]
    budget: Budget
    arrived_at: float
    explain: bool = False
    watcher: Watcher | None = None


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
        self._executor.start()
        self.ready = True

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

    async def predict(self, model: Model, samples: Sequence[Sample]) -> list[Answer]:
        """Answers in the order of the samples. All budgets are checked before any input is decoded.

        Raises:
            OfframpError: the first error of any sample; the others' walks are then cancelled.
        """
        walks = [self._walk(model, sample, self._admit(model, sample)) for sample in samples]
        walked = [await walks[0]] if len(walks) == 1 else await self._together(walks)
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

    def _admit(self, model: Model, sample: Sample) -> Terms:
        try:
            return admit(
                sample.budget,
                model.auditor,
                model.package,
                arrived_at=sample.arrived_at,
                default_deadline_s=self.settings.default_deadline_ms / 1e3,
            )
        except OfframpError as error:
            model.telemetry.refused(error.slug)
            raise

    async def _walk(self, model: Model, sample: Sample, terms: Terms) -> Walked:
        walker = Walker(model.name, terms, sample.arrived_at, {}, _nobody, trace=[] if sample.explain else None)
        walker.watcher = sample.watcher
        self._let_in(model, walker)
        walker.audit = model.auditor.draw()
        try:
            await self._decode(model, sample, walker)
        except BaseException as error:
            self._executor.withdraw(walker)
            model.pool.give_back(walker.slot)
            if walker.audit:
                model.auditor.close(walker.audit)
            model.telemetry.dropped(error)
            raise
        outcome = await self._finish(walker)
        return Walked(walker, outcome, self._conclude(model, sample, walker, outcome))

    def _let_in(self, model: Model, walker: Walker) -> None:
        """A slot for the walker's state and a place in the queue's time, both before anything is decoded."""
        slot = model.pool.take()
        try:
            if slot is None:
                raise Overloaded(f"{self.settings.max_in_flight} walkers are in flight", retry_after=1.0)
            walker.slot = slot
            self._executor.admit(walker)
        except Exception as error:
            if slot is not None:
                model.pool.give_back(slot)
            model.telemetry.dropped(error)
            raise

    async def _decode(self, model: Model, sample: Sample, walker: Walker) -> None:
        """Open the input and make the glimpses that the first stage asks for, off the event loop."""
        start = time.monotonic()
        wanted = model.package.manifest.stages[0].glimpses

        def look() -> None:
            source = sample.open()
            for name, glimpse in wanted.items():
                walker.glimpses[name] = source.glimpse(glimpse.height, glimpse.width)

        await asyncio.get_running_loop().run_in_executor(self._decoders, look)
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
        answer = Answer.of(model.package, sample.budget, walker, outcome, time.monotonic())
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


def _stage_table(model: Model) -> str:
    """Each stage with its MACs and its measured time for one row, as logged at load."""
    graph, times = model.course.graph, model.course.times
    stages = zip(graph.names, graph.macs, times, strict=True)
    return ", ".join(f"{name} {macs / 1e6:.1f} MMACs {time.seconds(1) * 1e3:.2f} ms" for name, macs, time in stages)


def _nobody(_: Walker, __: Outcome) -> None:
    """Listener of a walker that was not submitted yet."""
