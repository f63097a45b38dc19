"""All certificates of one model that are under watch, and what requests are served under meanwhile."""

from __future__ import annotations

from collections import OrderedDict, deque

import numpy as np
from numpy.typing import NDArray

from service.core import FULL, Audit, Price
from service.monitor.audits import losses
from service.monitor.watch import Watch
from service.package.curves import DEFAULT_CONFIDENCE, Certificate, Curve
from service.task.base import Task
from service.task.classification import Classification

_MOST_WATCHED = 64
"""Targets are the clients' to choose, and each takes its time of every audited walk."""
_RECENT = 500
WATCHABLE = ("agreement", "max_drop")
"""Kinds that disagreement with the full network tells something of. Accuracy needs labels."""
_CLASSIFICATION = Classification()


class Monitor:
    """Hands out the certificates in force and learns from audited walks. Not thread-safe.

    `whole_path`: an audit tells of every price, as on a chain, and not only of those that were walked at.
    """

    def __init__(self, curve: Curve, *, alpha: float, whole_path: bool = True, task: Task = _CLASSIFICATION) -> None:
        self._curve, self._alpha, self._whole_path, self.task = curve, alpha, whole_path, task
        self._disagreement = np.array(curve.certified("agreement", DEFAULT_CONFIDENCE))
        self._watches: OrderedDict[str, Watch] = OrderedDict()
        self._recent: deque[NDArray[np.float64]] = deque(maxlen=_RECENT)
        self._observed = 0
        self.default = self._begin(curve.default)

    def in_force(self, kind: str, target: float, confidence: float) -> Certificate:
        """What a target is served under now: its certificate, or while that is suspended the safer one in its stead.

        Raises:
            ImpossibleBudget: no certificate can be issued for it.
        """
        certificate = self._curve.certify(kind, target, confidence)
        watch = self._watch(certificate)
        return watch.in_force if watch else certificate

    def standing(self, certificate: Certificate) -> Certificate:
        """What is served under it now; unlike `in_force`, looking doesn't begin to watch."""
        watch = self.default if certificate.id == self.default.certificate.id else self._watches.get(certificate.id)
        return watch.in_force if watch else certificate

    def watching(self, certificate: Certificate) -> bool:
        """Whether audited walks are held against it now."""
        return certificate.id in self._watches or certificate.id == self.default.certificate.id

    def observe(self, audit: Audit) -> list[tuple[Watch, int]]:
        """Learn from a complete audit; returns the watches whose price moved, and by how many places of the path."""
        found = losses(audit, self._curve.record.prices, self.task)
        self._recent.append(found)
        self._observed += 1
        watches = (self.default, *self._watches.values())
        return [(watch, moved) for watch in watches if (moved := watch.observe(found))]

    @property
    def suspended(self) -> list[Watch]:
        """The watches whose certificate doesn't stand, the default's first."""
        return [watch for watch in (self.default, *self._watches.values()) if watch.suspended]

    @property
    def agreement(self) -> float:
        """Share of the last audited walks on which the price that the default now has agrees with the full network."""
        lost = [found[self.default.place] for found in self._recent]
        known = [loss for loss in lost if not np.isnan(loss)]
        return 1.0 - float(np.mean(known)) if known else float("nan")

    def probe(self) -> Price | None:
        """A price that nobody is served at while it is suspended, and that a shadow has to walk at to prove it anew."""
        suspended = [] if self._whole_path else self.suspended
        return suspended[self._observed % len(suspended)].certificate.price if suspended else None

    def _watch(self, certificate: Certificate) -> Watch | None:
        """Its watch, a new one if there is room; None for what needs none or can't be watched."""
        if certificate.id == self.default.certificate.id:
            return self.default
        if certificate.id not in self._watches:
            if certificate.kind not in WATCHABLE or certificate.price == FULL or not self._room():
                return None
            self._watches[certificate.id] = self._begin(certificate)
        self._watches.move_to_end(certificate.id)
        return self._watches[certificate.id]

    def _begin(self, certificate: Certificate) -> Watch:
        return Watch(certificate, self._curve, self._disagreement, alpha=self._alpha, whole_path=self._whole_path)

    def _room(self) -> bool:
        """Room for one more watch, made by forgetting the one that was asked for longest ago and isn't suspended."""
        if len(self._watches) < _MOST_WATCHED:
            return True
        idle = next((key for key, watch in self._watches.items() if not watch.suspended), None)
        if idle is None:
            return False
        del self._watches[idle]
        return True
