"""Which price a target buys, and what the certificate says of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core import CHEAPEST, FULL
from service.errors import ImpossibleBudget
from service.package import curves
from service.package.certificates import binomial_cdf
from service.package.curves import Certificate, Curve
from service.package.load import load
from service.package.record import LOSSES, Record
from tests.packages import one_stage

FULL_MACS = 1000
KINDS = st.sampled_from(LOSSES)


def curve_of(record: Record, *, package: str = "p" * 64, provider: str = "CPU", precision: str = "float32") -> Curve:
    return Curve(record, FULL_MACS, package, provider, precision)


def counted(n: int, wrong: list[int], unlike: list[int]) -> Record:
    """A record in which price j is wrong on `wrong[j]` samples, and differs from price 0 on `unlike[j]` others.

    All labels are 0. Wrong answers are 1 on the first samples; the full network's are wrong at `wrong[0]` of them.
    """
    predictions = np.zeros((len(wrong), n), np.int16)
    for j, (mistakes, others) in enumerate(zip(wrong, unlike, strict=True)):
        predictions[j, :mistakes] = 1
        predictions[j, n - others :] = 2 if others else 0
    prices = np.concatenate(([-np.inf], np.arange(len(wrong) - 2), [np.inf]))
    macs = np.linspace(FULL_MACS, 100, len(wrong)).astype(np.int64)[:, None].repeat(n, axis=1)
    return one_stage(prices, np.zeros(n, np.int16), predictions, macs)


# At n = 1000 and confidence 0.9 the largest count that is certified for 2 % is 13 (shared/methods.md 4.3).
BORDER = counted(1000, wrong=[10, 12, 13, 14, 13], unlike=[0, 0, 0, 0, 0])


def test_the_last_price_that_passes_is_bought() -> None:
    certificate = curve_of(BORDER).certify("accuracy", 0.98, 0.9)
    assert (certificate.price, certificate.k, certificate.n) == (1.0, 13, 1000)
    assert certificate.mean_macs == BORDER.macs[2].mean()


def test_a_price_behind_one_that_fails_is_not_bought() -> None:
    assert curve_of(counted(1000, [10, 14, 0, 0], [0] * 4)).certify("accuracy", 0.98, 0.9).price == FULL


def test_the_cheapest_is_bought_where_all_pass() -> None:
    assert curve_of(BORDER).certify("accuracy", 0.9, 0.9).price == CHEAPEST


def test_agreement_counts_what_differs_from_the_full_network() -> None:
    record = counted(1000, wrong=[100, 100, 100, 100], unlike=[0, 13, 14, 14])
    assert curve_of(record).certify("agreement", 0.98, 0.9).price == 0.0


def test_max_drop_counts_what_the_full_network_had_right() -> None:
    record = counted(1000, wrong=[100, 50, 113, 114], unlike=[0, 0, 0, 0])
    assert curve_of(record).losses["max_drop"] == [0, 0, 13, 14]
    assert curve_of(record).certify("max_drop", 0.02, 0.9).price == 1.0


def test_a_higher_confidence_buys_no_higher_price() -> None:
    curve = curve_of(BORDER)
    prices = [curve.certify("accuracy", 0.98, confidence).price for confidence in (0.5, 0.9, 0.92)]
    assert prices == sorted(prices, reverse=True)
    assert prices[0] > prices[-1]


@pytest.mark.parametrize(("kind", "target"), [("agreement", 1.0), ("max_drop", 0.0)])
def test_nothing_may_differ_from_the_full_network_so_it_runs(kind: str, target: float) -> None:
    certificate = curve_of(counted(50, [5, 5, 5], [0, 0, 0])).certify(kind, target, 0.95)
    assert (certificate.price, certificate.k) == (FULL, 0)


@pytest.mark.parametrize("kind", ["agreement", "max_drop"])
def test_too_few_samples_leave_the_full_network(kind: str) -> None:
    target = {"agreement": 0.99, "max_drop": 0.01}[kind]
    few, enough = counted(298, [0, 0, 0], [0, 0, 0]), counted(299, [0, 0, 0], [0, 0, 0])
    assert curve_of(few).certify(kind, target, 0.95).price == FULL
    assert curve_of(enough).certify(kind, target, 0.95).price == CHEAPEST


def test_an_accuracy_out_of_reach_is_refused_with_the_best_one() -> None:
    with pytest.raises(ImpossibleBudget) as caught:
        curve_of(BORDER).certify("accuracy", 0.99, 0.95)
    assert caught.value.extra == {"budget": "accuracy", "asked": 0.99, "best": 0.983}
    assert "0.983 on 1000 calibration samples" in caught.value.detail


def test_no_sample_at_all_right_leaves_nothing_to_offer_but_nothing() -> None:
    hopeless = curve_of(counted(20, [20, 20], [0, 0]))
    with pytest.raises(ImpossibleBudget) as caught:
        hopeless.certify("accuracy", 0.1, 0.95)
    assert caught.value.extra["best"] == 0.0
    assert hopeless.certify("accuracy", 0.0, 0.95).price == CHEAPEST


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Any record of two to five prices, with answers of any quality."""
    n, prices = draw(st.integers(1, 400)), draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    skill = rng.uniform(0, 1, size=prices) ** draw(st.sampled_from([0.0, 0.05, 1.0]))
    labels = rng.integers(3, size=n).astype(np.int16)
    right = rng.random((prices, n)) < skill[:, None]
    predictions = np.where(right, labels, rng.integers(3, size=(prices, n))).astype(np.int16)
    macs = np.sort(rng.integers(1, FULL_MACS, size=(prices, n)), axis=0)[::-1]
    path = np.concatenate(([-np.inf], np.sort(rng.random(prices - 2)), [np.inf]))
    return one_stage(path, labels, predictions, macs)


SHARES = st.floats(0.0, 1.0)
CONFIDENCES = st.floats(0.5, 0.999)


@settings(max_examples=50)
@given(record=records(), target=SHARES, confidence=CONFIDENCES)
def test_what_is_offered_instead_can_itself_be_certified(record: Record, target: float, confidence: float) -> None:
    curve = curve_of(record)
    try:
        curve.certify("accuracy", target, confidence)
    except ImpossibleBudget as refused:
        best = refused.extra["best"]
        assert best < target
        assert curve.certify("accuracy", best, confidence).target == best


@settings(max_examples=50)
@given(record=records(), kind=KINDS, target=SHARES, confidence=CONFIDENCES)
def test_every_price_up_to_the_one_bought_passes_and_the_next_fails(
    record: Record, kind: str, target: float, confidence: float
) -> None:
    curve, risk = curve_of(record), target if kind == "max_drop" else 1.0 - target
    try:
        bought = list(record.prices).index(curve.certify(kind, target, confidence).price)
    except ImpossibleBudget:
        bought = -1
    passes = [risk >= 1 or binomial_cdf(k, record.size, risk) <= 1.0 - confidence for k in curve.losses[kind]]
    # The full network keeps what is promised of itself without any proof.
    passes[0] = passes[0] or (kind != "accuracy" and bought == 0)
    assert all(passes[: bought + 1])
    assert not any(passes[bought + 1 : bought + 2])


@settings(max_examples=50)
@given(record=records(), kind=KINDS)
def test_the_curve_tells_what_certificates_keep(record: Record, kind: str) -> None:
    curve = curve_of(record)
    for place, point in enumerate(curve.points):
        shown = {
            "accuracy": point.certified_accuracy,
            "agreement": point.certified_agreement,
            "max_drop": point.certified_max_drop,
        }[kind]
        # A hair less than shown, so that rounding decides nothing.
        target = shown + 1e-9 if kind == "max_drop" else shown - 1e-9
        if 0.0 <= target <= 1.0:
            assert curve.certify(kind, target, 0.95).price >= record.prices[place]


def test_points_tell_the_record() -> None:
    record = counted(1000, wrong=[100, 90, 120], unlike=[0, 20, 30])
    points = curve_of(record).points
    assert [point.price for point in points] == record.prices.tolist()
    assert [point.mean_macs for point in points] == [1000.0, 550.0, 100.0]
    assert [point.fraction_of_full for point in points] == [1.0, 0.55, 0.1]
    assert [point.accuracy for point in points] == pytest.approx([0.9, 0.89, 0.85])
    assert [point.agreement for point in points] == pytest.approx([1.0, 0.97, 0.95])
    for point in points:
        assert point.certified_accuracy < point.accuracy
        assert point.certified_agreement <= point.agreement
    assert (points[0].certified_agreement, points[0].certified_max_drop) == (1.0, 0.0)


def test_without_a_budget_99_percent_agree_with_95_percent_confidence(colours: Path) -> None:
    package = load(colours)
    default = Curve(package.record, package.graph.full_macs, package.digest, "CPU").default
    assert (default.kind, default.target, default.confidence) == ("agreement", 0.99, 0.95)
    assert FULL < default.price < CHEAPEST
    assert default.mean_macs < package.graph.full_macs / 2


def test_a_package_of_few_samples_names_a_default_that_they_can_certify(colours: Path) -> None:
    package = load(colours)
    curve = Curve(package.record, package.graph.full_macs, package.digest, "CPU", default_agreement=0.9)
    assert (curve.default.kind, curve.default.target) == ("agreement", 0.9)
    assert curve.default.mean_macs < curve.certify("agreement", 0.99, 0.95).mean_macs


def test_a_certificate_names_what_it_holds_for() -> None:
    certificate = curve_of(BORDER, package="abc", provider="CUDA", precision="int8").certify("accuracy", 0.9, 0.95)
    assert dataclasses.asdict(certificate) | {"id": ""} == {
        "id": "",
        "kind": "accuracy",
        "target": 0.9,
        "confidence": 0.95,
        "n": 1000,
        "k": 13,
        "price": CHEAPEST,
        "mean_macs": 100.0,
        "package": "abc",
        "provider": "CUDA",
        "precision": "int8",
    }


def test_the_id_stays_the_same_from_start_to_start() -> None:
    first, second = (curve_of(BORDER).certify("accuracy", 0.9, 0.95) for _ in range(2))
    assert first == second
    assert first.id == "18ecb99303d01a75"


def test_any_difference_in_what_is_promised_gives_another_id() -> None:
    def issued(kind: str = "accuracy", target: float = 0.9, confidence: float = 0.9, **of: str) -> Certificate:
        return curve_of(BORDER, **of).certify(kind, target, confidence)

    different = [
        issued(),
        issued(kind="agreement"),
        issued(target=0.91),
        issued(confidence=0.91),
        issued(package="q"),
        issued(provider="CUDA"),
        issued(precision="int8"),
    ]
    assert len({certificate.id for certificate in different}) == len(different)


def test_clients_can_t_fill_the_memory_with_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "_MOST_ISSUED", 10)
    curve = curve_of(BORDER)
    first = curve.certify("accuracy", 0.9, 0.9)
    for place in range(50):
        curve.certify("accuracy", place / 100, 0.9)
        assert len(curve._issued) <= 10
    assert curve.certify("accuracy", 0.9, 0.9) == first


def test_shares_are_certified_by_their_sums() -> None:
    n, agreement = 200, np.array([1.0, 0.995, 0.9], np.float32)
    shares = agreement[:, None].repeat(n, axis=1)
    counts = counted(n, [0, 0, 0], [0, 0, 0])
    record = dataclasses.replace(
        counts, labels=np.empty(0, np.int16), predictions=np.empty((0, 0), np.int16), agreement=shares, quality=shares
    )
    curve = curve_of(record)
    assert curve.losses["agreement"] == pytest.approx([0.0, 1.0, 20.0], rel=1e-4)
    issued = curve.certify("agreement", 0.96, 0.95)
    assert (issued.price, issued.k) == (record.prices[1], pytest.approx(1.0, rel=1e-4))
    assert curve.certify("agreement", 0.999, 0.95).price == FULL
    with pytest.raises(ImpossibleBudget):
        curve.certify("accuracy", 0.9999, 0.95)
    assert curve.points[1].agreement == pytest.approx(0.995, rel=1e-4)
