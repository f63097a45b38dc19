"""Which certificates are watched, and what requests are served under."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from service.core import FULL, Audit, Price
from service.errors import ImpossibleBudget
from service.monitor import monitor
from service.monitor.monitor import Monitor
from service.package.curves import Curve
from service.package.load import load

AGREEING = Audit([Price(0.0), Price(0.0), FULL], [1, 1, 1], complete=True)
DISAGREEING = Audit([Price(0.0), Price(0.0), FULL], [0, 0, 1], complete=True)
"""It leaves at the first exit at every price but FULL."""


@pytest.fixture(scope="module")
def curve(colours: Path) -> Curve:
    package = load(colours)
    return Curve(package.record, package.graph.full_macs, package.digest, "CPU")


@pytest.fixture
def watching(curve: Curve) -> Monitor:
    return Monitor(curve, alpha=0.01)


def contradict(watching: Monitor) -> None:
    for _ in range(60):
        watching.observe(DISAGREEING)


def test_certificates_stand_as_issued_while_nothing_contradicts_them(watching: Monitor, curve: Curve) -> None:
    for _ in range(500):
        assert watching.observe(AGREEING) == []
    assert watching.in_force("agreement", 0.9, 0.95) is curve.certify("agreement", 0.9, 0.95)
    assert watching.default.in_force is curve.default
    assert watching.suspended == []
    assert watching.agreement == 1.0


def test_contradicted_targets_are_stepped_down_and_others_are_not(watching: Monitor, curve: Curve) -> None:
    agreement, drop = watching.in_force("agreement", 0.9, 0.95), watching.in_force("max_drop", 0.1, 0.95)
    accuracy = watching.in_force("accuracy", 0.5, 0.95)
    contradict(watching)
    assert watching.in_force("agreement", 0.9, 0.95).price == FULL
    assert watching.in_force("max_drop", 0.1, 0.95).price == FULL
    assert watching.in_force("accuracy", 0.5, 0.95) is accuracy
    assert [watch.certificate for watch in watching.suspended] == [curve.default, agreement, drop]
    assert watching.agreement == 1.0, "of the price that serves now: the full network"


def test_what_moved_is_told_once_with_its_direction(watching: Monitor) -> None:
    moved = [move for _ in range(60) for move in watching.observe(DISAGREEING)]
    assert [(watch is watching.default, steps < 0) for watch, steps in moved] == [(True, True)]


def test_before_the_first_audit_the_agreement_is_unknown(watching: Monitor) -> None:
    assert math.isnan(watching.agreement)


def test_only_what_disagreement_can_contradict_is_watched(watching: Monitor) -> None:
    watched = {
        kind: watching.watching(watching.in_force(kind, target, 0.95))
        for kind, target in {"agreement": 0.9, "max_drop": 0.1, "accuracy": 0.5}.items()
    }
    assert watched == {"agreement": True, "max_drop": True, "accuracy": False}
    assert watching.watching(watching.default.certificate)
    assert not watching.watching(watching.in_force("agreement", 1.0, 0.95)), "the full network needs no watch"


def test_impossible_targets_stay_impossible(watching: Monitor) -> None:
    with pytest.raises(ImpossibleBudget):
        watching.in_force("accuracy", 1.0, 0.95)


def test_the_target_asked_for_longest_ago_makes_way_unless_it_is_suspended(
    watching: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "_MOST_WATCHED", 2)
    first, second = (watching.in_force("agreement", target, 0.95) for target in (0.9, 0.91))
    watching.in_force("agreement", 0.9, 0.95)
    third = watching.in_force("agreement", 0.92, 0.95)
    assert [watching.watching(one) for one in (first, second, third)] == [True, False, True]
    contradict(watching)
    assert not watching.watching(watching.in_force("agreement", 0.93, 0.95))
    assert watching.in_force("agreement", 0.9, 0.95).price == FULL
