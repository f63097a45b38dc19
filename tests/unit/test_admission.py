"""Budgets become price intervals and limits; what can't be kept is refused with what can."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.admission import admit, urgency
from service.core import CHEAPEST, FULL, NEUTRAL, Budget, OnMiss, Terms
from service.errors import ImpossibleBudget
from service.package.curves import Certificate, Curve
from service.package.graph import StageGraph
from service.package.load import Package, load
from tests.packages import MACS

NOW, PATIENCE = 100.0, 10.0


@dataclasses.dataclass
class Unsuspended:
    """Certificates as they were issued, none suspended; or one in the place of every other."""

    curve: Curve
    instead: Certificate | None = None

    def in_force(self, kind: str, target: float, confidence: float) -> Certificate:
        return self.instead or self.curve.certify(kind, target, confidence)

    @property
    def default(self) -> Certificate:
        return self.instead or self.curve.default


@pytest.fixture(scope="module")
def package(colours: Path) -> Package:
    return load(colours)


@pytest.fixture(scope="module")
def curve(package: Package) -> Curve:
    return Curve(package.record, package.graph.full_macs, package.digest, "CPU")


def terms(package: Package, curve: Curve, **asked: Any) -> Terms:
    budget, promises = Budget(**asked), Unsuspended(curve)
    return admit(budget, promises, package, arrived_at=NOW, default_deadline_s=PATIENCE)


def test_asking_nothing_gets_the_default_and_the_whole_rest_of_the_path(package: Package, curve: Curve) -> None:
    assert terms(package, curve) == Terms(
        floor=curve.default.price,
        ceiling=CHEAPEST,
        deadline=dataclasses.replace(terms(package, curve).deadline, at=NOW + PATIENCE),
        max_macs=sum(MACS),
        urgency_at=NOW + PATIENCE,
    )


@pytest.mark.parametrize(
    ("asked", "floor", "deadline", "max_macs"),
    [
        ({"latency_ms": 20.0}, NEUTRAL, NOW + 0.02, sum(MACS)),
        ({"compute_mmacs": 3.5}, FULL, NOW + PATIENCE, 3_500_000),
        ({"compute_mmacs": 1e9}, FULL, NOW + PATIENCE, sum(MACS)),
        ({"latency_ms": 20.0, "compute_mmacs": 3.0}, NEUTRAL, NOW + 0.02, 3_000_000),
    ],
)
def test_limits_leave_the_price_to_the_market(
    package: Package, curve: Curve, asked: dict[str, float], floor: float, deadline: float, max_macs: int
) -> None:
    given_terms = terms(package, curve, **asked)
    assert (given_terms.floor, given_terms.ceiling) == (floor, CHEAPEST)
    assert given_terms.deadline.at == pytest.approx(deadline)
    assert given_terms.max_macs == max_macs
    assert given_terms.certificate is None


QUALITY = [("accuracy", 0.9), ("agreement", 0.95), ("agreement", 1.0), ("max_drop", 0.02), ("max_drop", 0.0)]
LIMITS = [{}, {"latency_ms": 20.0}, {"compute_mmacs": 3.0}, {"latency_ms": 20.0, "compute_mmacs": 3.0}]


@pytest.mark.parametrize("limits", LIMITS, ids=lambda limits: "+".join(limits) or "alone")
@pytest.mark.parametrize(("kind", "target"), QUALITY)
def test_a_target_fixes_the_price_whatever_the_limits(
    package: Package, curve: Curve, kind: str, target: float, limits: dict[str, float]
) -> None:
    certificate = curve.certify(kind, target, 0.95)
    given_terms = terms(package, curve, **{kind: target}, **limits)
    assert given_terms.floor == given_terms.ceiling == certificate.price
    assert given_terms.certificate == certificate.id
    assert given_terms.max_macs == (3_000_000 if "compute_mmacs" in limits else sum(MACS))


def test_the_confidence_asked_for_is_the_one_certified(package: Package, curve: Curve) -> None:
    certificate = curve.certify("accuracy", 0.9, 0.999)
    assert terms(package, curve, accuracy=0.9, confidence=0.999).certificate == certificate.id


def test_of_several_targets_the_dearest_binds(package: Package, curve: Curve) -> None:
    loose, tight = curve.certify("accuracy", 0.9, 0.95), curve.certify("agreement", 0.995, 0.95)
    assert tight.price < loose.price
    given_terms = terms(package, curve, accuracy=0.9, agreement=0.995)
    assert (given_terms.floor, given_terms.ceiling) == (tight.price, tight.price)
    assert given_terms.certificate == tight.id


def test_what_is_in_force_counts_not_what_was_issued(package: Package, curve: Curve) -> None:
    safer = curve.certify("agreement", 1.0, 0.95)
    for asked in (Budget(), Budget(agreement=0.95)):
        promises = Unsuspended(curve, instead=safer)
        given_terms = admit(asked, promises, package, arrived_at=NOW, default_deadline_s=PATIENCE)
        assert given_terms.floor == safer.price == FULL


def test_the_rest_of_the_budget_goes_along(package: Package, curve: Curve) -> None:
    given_terms = terms(package, curve, priority=1, on_miss=OnMiss.FAIL)
    assert (given_terms.priority, given_terms.on_miss) == (1, OnMiss.FAIL)
    assert given_terms.urgency_at == urgency(NOW, PATIENCE, 1)


@pytest.mark.parametrize(("key", "asked"), [("accuracy", 0.999), ("compute_mmacs", 0.5)])
def test_the_impossible_is_refused_with_what_is_possible(
    package: Package, curve: Curve, key: str, asked: float
) -> None:
    with pytest.raises(ImpossibleBudget) as caught:
        terms(package, curve, **{key: asked})
    assert caught.value.status == 422
    assert (caught.value.extra["budget"], caught.value.extra["asked"]) == (key, asked)
    assert terms(package, curve, **{key: caught.value.extra["best"]})


@example(macs=1_000_001)
@given(macs=st.integers(1, 10**10))
def test_the_compute_that_is_offered_is_enough(package: Package, curve: Curve, macs: int) -> None:
    only = dataclasses.replace(package, graph=StageGraph(("only",), (macs,), ((),), ("only",), (0,), macs))
    promises = Unsuspended(curve)
    with pytest.raises(ImpossibleBudget) as caught:
        admit(Budget(compute_mmacs=1e-9), promises, only, arrived_at=NOW, default_deadline_s=PATIENCE)
    enough = Budget(compute_mmacs=caught.value.extra["best"])
    assert admit(enough, promises, only, arrived_at=NOW, default_deadline_s=PATIENCE).max_macs == macs


def test_a_compute_limit_is_planned_for_where_there_are_ways_to_choose_from(package: Package, curve: Curve) -> None:
    # The same costs, but each walk goes straight from the first stage to its only exit.
    graph = dataclasses.replace(package.graph, after=((1, 2), (), ()), exits=("one", "other"), exit_of=(-1, 0, 1))
    spread = dataclasses.replace(package, graph=graph)
    for mmacs in (3, 8):
        floor = terms(spread, curve, compute_mmacs=mmacs).floor
        assert terms(package, curve, compute_mmacs=mmacs).floor == FULL
        place = package.record.prices.tolist().index(floor)
        fitting = (package.record.macs <= mmacs * 1e6).mean(axis=1)
        assert fitting[place] >= 0.9
        assert (fitting[:place] < 0.9).all()


PRIORITIES, SECONDS = st.integers(0, 7), st.floats(1e-3, 3600.0)


@given(first=st.tuples(st.floats(0, 1e6), SECONDS, PRIORITIES), patience=SECONDS, priority=PRIORITIES)
def test_nobody_starves(first: tuple[float, float, int], patience: float, priority: int) -> None:
    """Whoever comes after a walker's moment is behind it, however urgent: only finitely many get ahead."""
    moment = urgency(*first)
    assert moment > first[0]
    assert moment - first[0] <= 16 * first[1] * (1 + 1e-6)
    assert urgency(moment, patience, priority) > moment


@given(patience=SECONDS, priorities=st.tuples(PRIORITIES, PRIORITIES).map(sorted))
def test_a_lower_number_is_more_urgent(patience: float, priorities: list[int]) -> None:
    ahead, behind = (urgency(NOW, patience, priority) for priority in priorities)
    assert ahead < behind or priorities[0] == priorities[1]


def test_at_the_default_priority_the_deadline_orders() -> None:
    assert urgency(NOW, 5.0, 3) == NOW + 5.0
