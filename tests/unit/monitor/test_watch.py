"""A certificate under watch: stepped down to what still stands, reinstated by fresh walks alone."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from service.core import FULL
from service.monitor.watch import Retrial, Watch
from service.package.curves import Certificate, Curve, epsilon
from tests.packages import one_stage

N, P = 4_000, 12
ALPHA = 0.01


@pytest.fixture(scope="module")
def curve() -> Curve:
    """A path on which each price disagrees a little more often than the one before: 0, 0.2 %, 0.4 %, .. of the time."""
    predictions = np.zeros((P, N), np.int16)
    for place in range(P):
        predictions[place, : place * N // 500] = 1
    prices = np.concatenate(([-np.inf], np.arange(P - 2), [np.inf]))
    macs = np.linspace(1000, 100, P).astype(np.int64)[:, None].repeat(N, axis=1)
    record = one_stage(prices, np.zeros(N, np.int16), predictions, macs)
    return Curve(record, 1000, "p" * 64, "CPU")


def watch(curve: Curve, certificate: Certificate | None = None) -> Watch:
    disagreement = np.array(curve.certified("agreement", 0.95))
    return Watch(certificate or curve.certify("agreement", 0.99, 0.95), curve, disagreement, alpha=ALPHA)


def traffic(risks: NDArray[np.float64], walks: int, seed: int) -> NDArray[np.bool_]:
    """Walks that disagree at each price with its risk, the ones at a low price also at every higher one."""
    return np.asarray(np.random.default_rng(seed).random((walks, 1)) < risks)


CALM = np.arange(P) / 500
"""Like the calibration data."""


def feed(watched: Watch, losses: NDArray[np.bool_] | NDArray[np.float64]) -> list[int]:
    """The places that it moved to, in turn."""
    return [watched.place for row in losses if watched.observe(row)]


def test_traffic_like_the_calibration_data_moves_nothing(curve: Curve) -> None:
    watched = watch(curve)
    assert watched.home == 3
    assert feed(watched, traffic(CALM, 20_000, seed=1)) == []
    assert watched.in_force is watched.certificate


def test_it_steps_down_to_the_last_price_that_stands(curve: Curve) -> None:
    watched = watch(curve)
    risks = np.array([0, 0.001, 0.06, 0.2] + [0.3] * (P - 4))
    moved = feed(watched, traffic(risks, 300, seed=2))
    assert moved[-1] == 1
    assert moved == sorted(moved, reverse=True)
    assert watched.suspended
    stands_in = watched.in_force
    assert stands_in.price == curve.record.prices[1]
    assert (stands_in.kind, stands_in.target, stands_in.k) == ("agreement", 0.99, N // 500)
    assert stands_in.id != watched.certificate.id


def test_a_price_behind_one_that_was_contradicted_is_not_served(curve: Curve) -> None:
    watched = watch(curve)
    risks = np.array([0, 0.3, 0, 0.3] + [0.3] * (P - 4))
    feed(watched, np.asarray(np.random.default_rng(3).random((300, P)) < risks))
    assert watched.place == 0
    assert watched.in_force.price == FULL


def test_the_full_network_is_never_contradicted(curve: Curve) -> None:
    watched = watch(curve)
    everything = np.ones((2_000, P), np.bool_)
    everything[:, 0] = False
    feed(watched, everything)
    assert watched.place == 0


def test_it_recovers_once_the_traffic_is_as_before(curve: Curve) -> None:
    watched = watch(curve)
    shifted = CALM.copy()
    shifted[1:] = 0.3
    feed(watched, traffic(shifted, 200, seed=4))
    assert watched.place == 0
    moved = feed(watched, traffic(CALM / 4, 8_000, seed=5))
    assert moved[-1] == watched.home
    assert not watched.suspended
    assert watched.in_force is watched.certificate
    assert feed(watched, traffic(CALM, 5_000, seed=6)) == []


def test_while_a_milder_shift_lasts_it_recovers_to_the_price_that_holds(curve: Curve) -> None:
    watched = watch(curve)
    feed(watched, traffic(np.array([0.0] + [0.4] * (P - 1)), 200, seed=7))
    feed(watched, traffic(np.array([0, 0.001, 0.03, 0.2] + [0.3] * (P - 4)), 3_000, seed=8))
    assert watched.place == 1
    assert watched.suspended


def test_drop_is_watched_against_the_disagreement_of_the_calibration_data(curve: Curve) -> None:
    """Disagreeing more often than answers may be spoilt contradicts nothing, if it was so from the start."""
    record = curve.record
    # Every label is 1: where a price differs from the full network it repairs it, so nothing is ever spoilt.
    repaired = one_stage(record.prices, np.ones(N, np.int16), record.predictions, record.macs)
    mended = Curve(repaired, 1000, "p" * 64, "CPU")
    certificate = mended.certify("max_drop", 0.005, 0.95)
    watched = watch(mended, certificate)
    assert watched.home == P - 1
    assert CALM[-1] > epsilon("max_drop", 0.005)
    assert feed(watched, traffic(CALM, 10_000, seed=9)) == []
    assert feed(watched, traffic(3 * CALM, 5_000, seed=10))
    assert watched.suspended


def test_a_block_passes_a_price_above_its_bar_with_a_probability_of_at_most_delta() -> None:
    delta, streams, rng = 0.1, 400, np.random.default_rng(11)
    bars = np.array([0.05, 0.05])
    passed = 0
    for _ in range(streams):
        retrial = Retrial(bars, delta, 400)
        lost = rng.random(3_000) < 0.0501
        passed += any(retrial.observe(np.array([False, one])) == 1 for one in lost)
    assert passed / streams <= delta + 3 * math.sqrt(delta * (1 - delta) / streams)


def test_each_block_is_fresh_and_held_to_more(curve: Curve) -> None:
    retrial = Retrial(np.full(3, 0.01), 0.05, 8_000)
    sizes, levels = [], []
    for _ in range(4):
        sizes.append(retrial.size)
        levels.append(retrial.level)
        verdicts = [retrial.observe(np.array([False, False, True])) for _ in range(retrial.size)]
        assert verdicts[:-1] == [None] * (len(verdicts) - 1)
        assert verdicts[-1] == 1
    assert levels == [0.025, 0.0125, 0.00625, 0.003125]
    assert sizes == sorted(sizes)


def test_shares_raise_the_alarm_as_well() -> None:
    shares = (1.0 - np.linspace(0, 0.02, P))[:, None].repeat(400, axis=1).astype(np.float32)
    record = one_stage(
        np.concatenate(([-np.inf], np.arange(P - 2), [np.inf])),
        np.zeros(400, np.int16),
        np.zeros((P, 400), np.int16),
        np.linspace(1000, 100, P).astype(np.int64)[:, None].repeat(400, axis=1),
    )
    dense = dataclasses.replace(
        record, labels=np.empty(0, np.int16), predictions=np.empty((0, 0), np.int16), agreement=shares, quality=shares
    )
    watched = watch(dense_curve := Curve(dense, 1000, "p" * 64, "CPU"), dense_curve.certify("agreement", 0.97, 0.95))
    home, calm = watched.home, np.linspace(0, 0.02, P)
    assert home > 0
    assert [watched.observe(calm) for _ in range(2_000)] == [0] * 2_000
    feed(watched, np.tile(np.minimum(np.arange(P), 1) * 0.2, (400, 1)))
    assert (watched.place, watched.suspended) == (0, True)
    feed(watched, np.tile(calm, (3_000, 1)))
    assert watched.place == home, "calm again, and proven so"
