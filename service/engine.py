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
from typing import Any

from service import cores
from service.admission import admit
from service.answer import Answer
from service.catalogue import Catalogue
from service.core import NOBODY, Budget, Caller, OnMiss, Outcome, Walker, Watcher
from service.errors import Cancelled, DeadlinePassed, NotReady, Overloaded, QuotaExceeded
from service.executor import Executor
from service.lookout import Lookout, explained, look
from service.media.source import Source
from service.model import Model
from service.runtime.onnx import OnnxRunner, check_install
from service.scheduler.batch import Batch, Ended
from service.scheduler.conductor import Conductor
from service.settings import Settings
from service.telemetry import Metrics
from service.tenants import Tenants
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
    caller: Caller = NOBODY
    light: bool = False
    """So few bytes that opening them takes less than handing them to a thread would."""
    judged: bool = False
    """The door asked the turnstile for it."""


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
    tenants: Tenants = field(init=False)
    catalogue: Catalogue = field(init=False)
    turnstile: Turnstile = field(default_factory=Turnstile)
    ready: bool = False

    def __post_init__(self) -> None:
        self.tenants = Tenants.of(self.settings.tenants, self.metrics)
        self.catalogue = Catalogue(self.settings, self.metrics)
        self.models, self.failed = self.catalogue.models, self.catalogue.failed
        self.withdrawn = self.catalogue.withdrawn

    def load(self) -> None:
        """Load and warm every package; one that fails is noted and left out. Blocks for seconds.

        Raises:
            SettingsError: no ONNX Runtime, two of them, or not the device that was asked for.
            PackageError: a models folder that doesn't exist.
        """
        check_install(self.settings.device)
        self.catalogue.load()
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
        self._executor = Executor(
            conductor,
            routers,
            self._runners,
            on_batch=self._count_batch,
            on_ended=self._deliver,
            on_look=lambda walker: self._lookout.send(walker),
        )
        self._decoders = ThreadPoolExecutor(
            self.settings.decode_threads, thread_name_prefix="decode", initializer=cores.step_back
        )
        self._lookout = Lookout(self.models, self._decoders, self._executor)
        for model in self.models.values():
            self._expect(model)
        self._executor.start()
        self.ready = True

    @property
    def dead_lanes(self) -> list[str]:
        """Lanes that ended by an error: what a liveness probe should restart the process for."""
        return self._executor.dead if self.ready else []

    def stop(self) -> None:
        """Finish the accepted work and end the threads. Blocks up to `settings.drain_s`."""
        self.ready = False
        self._executor.stop(self.settings.drain_s)
        self._decoders.shutdown(wait=True)

    def model(self, name: str) -> Model:
        """A model by name.

        Raises:
            NotReady: still starting, or the model failed to load (with the reason).
            UnknownModel: no package of that name.
        """
        if name in self.failed and name not in self.models:
            return self.catalogue.model(name)
        if not self.ready:
            raise NotReady("the server is starting or stopping")
        return self.catalogue.model(name)

    def install(self, model: Model) -> None:
        """Serve a model more, or another in the place of its namesake, none of whose walks is left."""
        for runner, sessions in zip(self._runners, model.lanes, strict=True):
            runner.add(model.name, sessions)
        self._executor.put(model.name, model.course, model.router)
        self._expect(model)
        self.catalogue.put(model)

    def remove(self, name: str) -> None:
        """Free what a model held; it is withdrawn, and none of its walks is left."""
        for runner in self._runners:
            runner.drop(name)
        del self.models[name]

    def idle(self, model: Model) -> bool:
        """Whether no walk of a model is left. Its shadows that wait are given up."""
        self._executor.drop_shadows(model.name)
        return model.pool.idle

    def _expect(self, model: Model) -> None:
        self.turnstile.expect(model.name, sum(times.seconds(1) for times in model.course.times))

    def default(self, modality: str) -> Model:
        """The first model, by name, that reads a modality.

        Raises:
            NotReady: still starting.
            UnknownModel: no model reads it.
        """
        if not self.ready:
            raise NotReady("the server is starting")
        return self.catalogue.default(modality)

    def crowded(
        self, name: str, urgency_at: float, arrived_at: float, patience_s: float, caller: Callable[[], Caller]
    ) -> Overloaded | None:
        """Why an input can't come in, counted as refused: too many more urgent ones are inside. None: it can."""
        late = self.turnstile.lateness(urgency_at, arrived_at, patience_s, time.monotonic())
        if late <= 0:
            return None
        refusal = _crowded(late)
        self.models[name].telemetry.refused(refusal, caller())
        return refusal

    async def predict(self, model: Model, samples: Sequence[Sample]) -> list[Answer]:
        """Answers in the order of the samples. All are let in, or none, before any is decoded.

        Raises:
            OfframpError: the first error of any sample; the others' walks are then cancelled.
        """
        if self.models.get(model.name) is not model:
            raise NotReady(f"model {model.name!r} was just loaded anew or unloaded")
        payer = samples[0].caller.payer
        if payer is None:
            return await self._answers(model, samples)
        try:
            with payer.holding(sum(model.most_macs(sample.budget) for sample in samples)):
                return await self._answers(model, samples)
        except QuotaExceeded as error:
            self._refuse(model, samples, error)
            raise

    async def _answers(self, model: Model, samples: Sequence[Sample]) -> list[Answer]:
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
            if not all(sample.judged for sample in samples):
                self._check_crowd(walkers)
            for walker in walkers:
                walker.slot = self._slot(model)
            self._executor.admit(walkers)
        except Exception as error:
            for walker in walkers:
                if walker.slot >= 0:
                    model.pool.give_back(walker.slot)
            self._refuse(model, samples, error)
            raise
        for walker in walkers:
            walker.audit = model.auditor.draw()
        return walkers

    def _refuse(self, model: Model, samples: Sequence[Sample], error: Exception) -> None:
        for sample in samples:
            model.telemetry.dropped(error, caller=sample.caller)

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
        walker.watcher, walker.caller = sample.watcher, sample.caller
        return walker

    def _check_crowd(self, walkers: Sequence[Walker]) -> None:
        """As at the door, for those whose budget was in the body or who came by another way."""
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
        answer = self._conclude(model, sample, walker, outcome)
        if sample.explain:
            answer = await asyncio.get_running_loop().run_in_executor(self._decoders, explained, answer, walker)
        return Walked(walker, outcome, answer)

    def _turn_back(self, model: Model, walker: Walker, error: BaseException) -> None:
        """A walker that was let in, but never came to the lanes, gives up its place. Once; else it does nothing."""
        if walker.done or walker.ticket >= 0:
            return
        self._executor.withdraw(walker)
        model.pool.give_back(walker.slot)
        if walker.audit:
            model.auditor.close(walker.audit)
        model.telemetry.dropped(error, caller=walker.caller)

    async def _decode(self, model: Model, sample: Sample, walker: Walker) -> None:
        """Open the input and make the glimpses that the first stage asks for, off the event loop unless that would cost
        more than the decoding.
        """
        start = time.monotonic()

        def begin(source: Source) -> None:
            if model.package.graph.looks_again or sample.explain:
                walker.source = source
            look(model.package, walker, source)

        source = sample.open() if sample.light else None
        if source is not None and source.area <= _LIGHT_PIXELS:
            begin(source)
        else:
            await asyncio.get_running_loop().run_in_executor(self._decoders, lambda: begin(source or sample.open()))
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
        model = self.models.get(walker.model)
        if model is not None:  # else it was unloaded in that moment
            model.telemetry.dropped(Cancelled("nobody takes the answer"), walker.ledger.macs, walker.caller)

    def _conclude(self, model: Model, sample: Sample, walker: Walker, outcome: Outcome) -> Answer:
        if outcome.error is not None:
            raise outcome.error
        now = time.monotonic()
        self.turnstile.told(now - outcome.finished_at)
        answer = Answer.of(model.package, sample.budget, walker, outcome, now)
        if sample.budget.on_miss is OnMiss.FAIL and not answer.kept.get("latency_ms", True):
            late = DeadlinePassed("the answer was ready only after the deadline")
            model.telemetry.dropped(late, walker.ledger.macs, walker.caller)
            raise late
        return answer

    def _count_batch(self, batch: Batch, seconds: float) -> None:
        self.models[batch.model].telemetry.batch(batch.stage, batch.rows, seconds, batch.release.value)

    def _deliver(self, ended: Ended) -> None:
        """Called by lanes: free the walker's slot, book its ledger, tell whoever waits."""
        walker, model = ended.walker, self.models[ended.walker.model]
        followed = walker.slot < 0
        if followed and not walker.shadow:
            model.pool.park()
        elif not followed:
            model.pool.give_back(walker.slot, parked=walker.shadow)
        model.telemetry.ended(walker, ended.outcome)
        if walker.caller.payer is not None and not walker.shadow:
            walker.caller.payer.pay(walker.ledger.macs)
        walker.listener(walker, ended.outcome)
        if walker.audit and not followed:
            model.auditor.close(walker.audit)


def _crowded(late_s: float) -> Overloaded:
    return Overloaded("more urgent requests are inside than can be answered in time", retry_after=late_s)


def _nobody(_: Walker, __: Outcome) -> None:
    """Listener of a walker that was not submitted yet."""
