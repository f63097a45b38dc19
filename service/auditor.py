"""Draws the walks that are audited, takes their results in order, and tells metrics and log what the monitor makes of
them. Event loop and lanes share it, so it holds a lock around the monitor.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from random import Random
from threading import Lock

from service.core import Audit, Price, named
from service.monitor.monitor import WATCHABLE, Monitor
from service.monitor.watch import Watch
from service.package.curves import Certificate
from service.telemetry import ModelTelemetry

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which walks are audited: each with probability `share`, while fewer than `most` audits are under way."""

    share: float
    most: int
    random: Random = field(default_factory=Random)


class Auditor:
    """Audits the walks of one model."""

    def __init__(self, model: str, monitor: Monitor, telemetry: ModelTelemetry, sampling: Sampling) -> None:
        self._model, self._monitor, self._telemetry, self._sampling = model, monitor, telemetry, sampling
        self._open: deque[Audit] = deque()
        self._lock = Lock()
        self._show()

    def draw(self) -> Audit | None:
        """An audit for a walker that was let in, or None: by chance and room alone, before anything of it is known."""
        with self._lock:
            if len(self._open) >= self._sampling.most or self._sampling.random.random() >= self._sampling.share:
                return None
            self._open.append(audit := Audit(probe=self._monitor.probe(), keep=self._monitor.task.kept))
            return audit

    def close(self, audit: Audit) -> None:
        """Nothing more comes of an audit. It counts once all that were drawn before it are closed too.

        Walks that stop early take longest to audit, since they wait for an idle device: were results taken as they
        come, there would be too few of those among them.
        """
        with self._lock:
            audit.closed = True
            while self._open and self._open[0].closed:
                self._take(self._open.popleft())

    def in_force(self, kind: str, target: float, confidence: float) -> Certificate:
        """See `Monitor.in_force`."""
        with self._lock:
            return self._monitor.in_force(kind, target, confidence)

    @property
    def default(self) -> Certificate:
        """What requests without a budget are served under now."""
        return self._monitor.default.in_force

    def standing(self, certificate: Certificate) -> Certificate:
        """See `Monitor.standing`."""
        with self._lock:
            return self._monitor.standing(certificate)

    def monitored(self, certificate: Certificate) -> bool:
        """Whether audited walks could contradict it once it is asked for: accuracy can't be seen without labels, and
        where no walk is audited nothing can.
        """
        return certificate.kind in WATCHABLE and self._sampling.share > 0

    @property
    def trouble(self) -> str | None:
        """Why the model is degraded; None while every certificate under watch holds."""
        with self._lock:
            suspended = [_sentence(watch) for watch in self._monitor.suspended]
        return "; ".join(suspended) or None

    def _take(self, audit: Audit) -> None:
        if not audit.complete:
            return
        for watch, moved in self._monitor.observe(audit):
            log.warning("model %s: %s", self._model, _sentence(watch))
            if moved < 0:
                self._telemetry.alarms.inc()
        self._telemetry.audits.inc()
        self._show()

    def _show(self) -> None:
        self._telemetry.certificate.set(0.0 if self._monitor.default.suspended else 1.0)
        self._telemetry.agreement.set(self._monitor.agreement)


def _sentence(watch: Watch) -> str:
    given = watch.certificate
    target = f"certificate {given.id} ({given.kind} {given.target:g} at confidence {given.confidence:g})"
    if not watch.suspended:
        return f"{target} is reinstated"
    return f"{target} is suspended: its price {_shown(given.price)} makes way for {_shown(watch.in_force.price)}"


def _shown(price: Price) -> str:
    name = named(price)
    return name if isinstance(name, str) else f"{name:g}"
