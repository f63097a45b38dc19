"""Every metric of the server. Base units; label children are resolved once a model at load, not once a request.

Sums over answers equal these counters: a walker's MACs are counted as its answer goes out, from the ledger that its
receipt shows; what served no answer is counted as wasted, apart.
"""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from service import journal
from service.core import NOBODY, Caller, Outcome, Reason, Release, Walker
from service.errors import Cancelled, DeadlinePassed, Later, OfframpError, RequestError
from service.package.graph import StageGraph

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
SLACK = (-1.0, -0.1, -0.02, -0.005, 0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 10.0)
MACS = (1e6, 3e6, 1e7, 2e7, 3e7, 5e7, 7e7, 1e8, 1.5e8, 2e8, 3e8, 5e8, 1e9, 3e9, 1e10)
_MOST_EXEMPLAR = 128 - len("request_id")
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)

# A `_created` sample beside every child would double the page; start times are in the scrape's own history.
disable_created_metrics()  # type: ignore[no-untyped-call]

OK, DEGRADED, REJECTED, EXPIRED, CANCELLED, ERROR = "ok", "degraded", "rejected", "expired", "cancelled", "error"
SHADOW = "shadow"
"""Why MACs served no answer, beside the outcomes that say so: they ran after it was out, to audit it."""
READY, FAILED, UNLOADED = STATES = ("ready", "failed", "unloaded")
OUTCOMES = (OK, DEGRADED, REJECTED, EXPIRED, CANCELLED, ERROR)


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metric families, in a registry of their own so that two servers in one process don't share counts."""

    registry: CollectorRegistry
    requests: Counter
    duration: Histogram
    compute: Histogram
    device: Histogram
    queue: Histogram
    decode: Histogram
    exits: Counter
    budgets: Counter
    stage_macs: Counter
    saved: Counter
    wasted: Counter
    stage_rows: Histogram
    stage_seconds: Histogram
    releases: Counter
    slack: Histogram
    price: Gauge
    refused: Counter
    certificate: Gauge
    agreement: Gauge
    audits: Counter
    alarms: Counter
    state: Gauge
    tenant_macs: Counter
    tenant_refused: Counter
    tenant_quota: Gauge

    @classmethod
    def new(cls) -> Metrics:
        """All families, empty."""
        r = CollectorRegistry()
        return cls(
            registry=r,
            requests=Counter("offramp_requests_total", "Inputs by how they ended.", ["model", "outcome"], registry=r),
            duration=Histogram(
                "offramp_request_duration_seconds",
                "From the request's last byte to the answer.",
                ["model"],
                registry=r,
                buckets=SECONDS,
            ),
            compute=Histogram(
                "offramp_request_compute_macs", "MACs of one answer.", ["model"], registry=r, buckets=MACS
            ),
            device=Histogram(
                "offramp_request_device_seconds", "Device time of one answer.", ["model"], registry=r, buckets=SECONDS
            ),
            queue=Histogram(
                "offramp_queue_seconds", "Time one answer waited at stages.", ["model"], registry=r, buckets=SECONDS
            ),
            decode=Histogram(
                "offramp_decode_seconds",
                "Time to open and decode the input of one answer, all its looks together.",
                ["model"],
                registry=r,
                buckets=SECONDS,
            ),
            exits=Counter("offramp_exits_total", "Answers by exit.", ["model", "exit", "reason"], registry=r),
            budgets=Counter("offramp_budget_total", "Budgets by kind.", ["model", "budget", "met"], registry=r),
            stage_macs=Counter(
                "offramp_compute_macs_total",
                "MACs of the answers given, as on their receipts.",
                ["model", "stage"],
                registry=r,
            ),
            saved=Counter(
                "offramp_saved_macs_total", "MACs that the full walk would have cost more.", ["model"], registry=r
            ),
            wasted=Counter(
                "offramp_wasted_macs_total",
                "MACs that served no answer, and are on no receipt.",
                ["model", "reason"],
                registry=r,
            ),
            stage_rows=Histogram(
                "offramp_stage_rows", "Rows of one stage batch.", ["model", "stage"], registry=r, buckets=ROWS
            ),
            stage_seconds=Histogram(
                "offramp_stage_seconds", "Time of one stage batch.", ["model", "stage"], registry=r, buckets=SECONDS
            ),
            releases=Counter(
                "offramp_batches_total",
                "Stage batches, by why they were let go.",
                ["model", "stage", "release"],
                registry=r,
            ),
            slack=Histogram(
                "offramp_deadline_slack_seconds",
                "Time left at the answer, for requests that gave a deadline.",
                ["model"],
                registry=r,
                buckets=SLACK,
            ),
            price=Gauge("offramp_compute_price", "Market price, expected correctness per device second.", registry=r),
            refused=Counter("offramp_refused_total", "Inputs refused, by reason.", ["model", "reason"], registry=r),
            certificate=Gauge(
                "offramp_certificate_valid", "1 while the default certificate holds.", ["model"], registry=r
            ),
            agreement=Gauge(
                "offramp_shadow_agreement_ratio",
                "Share of the last 500 audited walks on which the default's price agrees with the full network.",
                ["model"],
                registry=r,
            ),
            audits=Counter("offramp_shadow_audits_total", "Walks audited to the end.", ["model"], registry=r),
            alarms=Counter(
                "offramp_shadow_alarms_total", "Steps down that audits forced on a certificate.", ["model"], registry=r
            ),
            state=Gauge("offramp_model_state", "1 for the state that a model is in.", ["model", "state"], registry=r),
            tenant_macs=Counter(
                "offramp_tenant_macs_total",
                "MACs that ran for a tenant's walks, for an answer or for none.",
                ["tenant"],
                registry=r,
            ),
            tenant_refused=Counter(
                "offramp_tenant_refused_total",
                "A tenant's requests refused: quota used up, or not its model.",
                ["tenant"],
                registry=r,
            ),
            tenant_quota=Gauge(
                "offramp_tenant_quota_macs", "MACs a second that a tenant may use.", ["tenant"], registry=r
            ),
        )

    def tell_state(self, model: str, state: str) -> None:
        """A model, or a package folder that is none, is in that state from now on."""
        for one in STATES:
            self.state.labels(model, one).set(one == state)

    def forget_state(self, model: str) -> None:
        """There is no model of that name, nor a folder that failed."""
        for one in STATES:
            self.state.remove(model, one)


@dataclass(frozen=True, slots=True)
class Totals:
    """What one model did since the start, in the counters of `/metrics`; seconds are sums over the answers."""

    answers: int
    failures: int
    batches: int
    seconds: float
    queue_s: float
    decode_s: float
    device_s: float
    last_answer_at: float
    """Seconds since the epoch; 0 before the first."""


class ModelTelemetry:
    """One model's children of every family."""

    def __init__(self, metrics: Metrics, model: str, graph: StageGraph) -> None:
        self._metrics, self._model, self._graph = metrics, model, graph
        self._outcomes = {outcome: metrics.requests.labels(model, outcome) for outcome in OUTCOMES}
        self._refusals: dict[str, Counter] = {}
        self._duration = metrics.duration.labels(model)
        self._compute = metrics.compute.labels(model)
        self._device = metrics.device.labels(model)
        self._queue = metrics.queue.labels(model)
        self._slack = metrics.slack.labels(model)
        self._decode = metrics.decode.labels(model)
        self._last_answer_at = 0.0
        self._saved = metrics.saved.labels(model)
        self._exits = {
            (name, reason): metrics.exits.labels(model, name, reason.value) for name in graph.exits for reason in Reason
        }
        self._wasted = {reason: metrics.wasted.labels(model, reason) for reason in (CANCELLED, EXPIRED, ERROR, SHADOW)}
        # Labelled by stage: a loop's laps count together, and the set of labels stays small.
        self._stage_macs = {
            name: metrics.stage_macs.labels(model, kind) for name, kind in zip(graph.names, graph.kinds, strict=True)
        }
        self._stage_rows = [metrics.stage_rows.labels(model, kind) for kind in graph.kinds]
        self._stage_seconds = [metrics.stage_seconds.labels(model, kind) for kind in graph.kinds]
        self._releases = {
            (place, release.value): metrics.releases.labels(model, kind, release.value)
            for place, kind in enumerate(graph.kinds)
            for release in Release
        }
        self.certificate = metrics.certificate.labels(model)
        self.agreement = metrics.agreement.labels(model)
        self.audits, self.alarms = metrics.audits.labels(model), metrics.alarms.labels(model)

    def batch(self, stage: int, rows: int, seconds: float, release: str) -> None:
        """A stage batch ran; `release` is why it was let go as it was."""
        self._releases[stage, release].inc()
        self._stage_rows[stage].observe(rows)
        self._stage_seconds[stage].observe(seconds)

    def ended(self, walker: Walker, outcome: Outcome) -> None:
        """A walk is over; if it serves no answer, what it ran was wasted."""
        if walker.shadow:
            self._wasted[SHADOW].inc(walker.ledger.macs)
        elif outcome.error is not None:
            self.dropped(outcome.error, walker.ledger.macs, walker.caller)

    def answered(self, walker: Walker, outcome: Outcome, *, seconds: float, budgets: Mapping[str, bool]) -> None:
        """An answer goes out after `seconds`; `budgets` says for each kind that was asked whether it was kept."""
        if outcome.standing is None or outcome.reason is None:
            raise ValueError("only a standing answer can go out")
        # A deadline that the client set is kept by answering early; the server's own only ever degrades.
        pressing = {Reason.OVERLOAD} if "latency_ms" in budgets else {Reason.OVERLOAD, Reason.DEADLINE}
        kept = all(budgets.values()) and outcome.reason not in pressing
        counted = OK if kept else DEGRADED
        self._outcomes[counted].inc()
        exemplar = _exemplar(walker.caller)
        self._exits[outcome.standing.exit, outcome.reason].inc()
        self._duration.observe(seconds, exemplar)
        self._compute.observe(walker.ledger.macs, exemplar)
        for stage, macs in zip(walker.ledger.stages, walker.ledger.stage_macs, strict=True):
            self._stage_macs[stage].inc(macs)
        self._device.observe(walker.ledger.device_s)
        self._queue.observe(walker.ledger.queue_s)
        self._decode.observe(walker.ledger.decode_s)
        self._last_answer_at = time.time()
        self._saved.inc(max(0, (walker.full_macs or self._graph.full_macs) - walker.ledger.macs))
        if "latency_ms" in budgets:
            self._slack.observe(walker.terms.due.at - walker.arrived_at - seconds)
        for budget, met in budgets.items():
            self._metrics.budgets.labels(self._model, budget, str(met).lower()).inc()
        journal.answered(self._model, walker.caller, walker, outcome, counted=counted, seconds=seconds)

    def totals(self) -> Totals:
        """Everything so far."""
        outcomes = {outcome: int(_value(counter, "_total")) for outcome, counter in self._outcomes.items()}
        answers = outcomes[OK] + outcomes[DEGRADED]
        return Totals(
            answers=answers,
            failures=sum(outcomes.values()) - answers,
            batches=int(sum(_value(rows, "_count") for rows in set(self._stage_rows))),
            seconds=_value(self._duration, "_sum"),
            queue_s=_value(self._queue, "_sum"),
            decode_s=_value(self._decode, "_sum"),
            device_s=_value(self._device, "_sum"),
            last_answer_at=self._last_answer_at,
        )

    def refused(self, error: OfframpError, caller: Caller = NOBODY) -> None:
        """An input was refused before any stage ran."""
        self._outcomes[REJECTED].inc()
        counter = self._refusals.get(error.slug)
        if counter is None:
            counter = self._refusals[error.slug] = self._metrics.refused.labels(self._model, error.slug)
        counter.inc()
        journal.dropped(self._model, caller, error, counted=REJECTED, macs=0)

    def dropped(self, error: BaseException, macs: int = 0, caller: Caller = NOBODY) -> None:
        """An input that was let in gets no answer; `macs` had run for it."""
        if isinstance(error, RequestError | Later):
            self.refused(error, caller)
            return
        kinds = (((Cancelled, CancelledError), CANCELLED), ((DeadlinePassed,), EXPIRED))
        outcome = next((name for kind, name in kinds if isinstance(error, kind)), ERROR)
        self._outcomes[outcome].inc()
        self._wasted[outcome].inc(macs)
        journal.dropped(self._model, caller, error, counted=outcome, macs=macs)


def _exemplar(caller: Caller) -> dict[str, str] | None:
    """The request behind an observation, unless its name is longer than OpenMetrics lets an exemplar be."""
    fits = 0 < len(caller.request_id) <= _MOST_EXEMPLAR
    return {"request_id": caller.request_id} if fits else None


def _value(child: Counter | Histogram, sample: str) -> float:
    """One sample of a child, as a scrape would see it."""
    return sum(one.value for family in child.collect() for one in family.samples if one.name.endswith(sample))
