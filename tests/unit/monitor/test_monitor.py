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


@pytest.fixture
def on_a_graph(curve: Curve) -> Monitor:
    return Monitor(curve, alpha=0.01, whole_path=False)


def walked(price: Price, answer: int) -> Audit:
    """The full network says 1."""
    return Audit(walks={FULL: 1, price: answer}, complete=True)


def test_on_a_graph_a_contradicted_target_goes_to_the_full_network_and_is_probed(
    on_a_graph: Monitor, curve: Curve
) -> None:
    price = curve.default.price
    assert on_a_graph.probe() is None
    for _ in range(60):
        on_a_graph.observe(walked(price, 0))
    assert on_a_graph.default.in_force.price == FULL
    assert on_a_graph.probe() == price
    assert on_a_graph.agreement == 1.0


def test_on_a_graph_probes_bring_a_target_back(on_a_graph: Monitor, curve: Curve) -> None:
    price = curve.default.price
    for _ in range(60):
        on_a_graph.observe(walked(price, 0))
    for _ in range(5000):
        on_a_graph.observe(walked(price, 1))
    assert on_a_graph.default.in_force is curve.default
    assert on_a_graph.probe() is None


def test_on_a_graph_walks_at_other_prices_tell_nothing(on_a_graph: Monitor) -> None:
    for _ in range(200):
        on_a_graph.observe(walked(Price(1e9), 0))
    assert on_a_graph.suspended == []
    assert math.isnan(on_a_graph.agreement)
