"""The bounds against brute force, closed forms, published values and simulation."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.package.certificates import (
    binomial_cdf,
    certified_risks,
    fixed_sequence,
    hoeffding_bentkus,
    p_value,
    smallest_sample,
    upper_bound,
)


def exact_cdf(k: int, n: int, p: float | Fraction) -> float:
    """P(Bin(n, p) <= k) in whole numbers; only the last step rounds."""
    top, bottom = Fraction(p).as_integer_ratio()
    total = sum(math.comb(n, i) * top**i * (bottom - top) ** (n - i) for i in range(k + 1))
    return float(Fraction(total, bottom**n))


@given(data=st.data(), n=st.integers(1, 60), p=st.floats(0.0, 1.0))
def test_binomial_is_exact(data: st.DataObject, n: int, p: float) -> None:
    k = data.draw(st.integers(-2, n + 2))
    assert binomial_cdf(k, n, p) == pytest.approx(exact_cdf(min(k, n), n, p), rel=1e-12, abs=1e-300)


@pytest.mark.parametrize(
    ("k", "n", "p"), [(0, 5000, "0.001"), (40, 5000, "0.01"), (450, 1000, "0.5"), (995, 1000, "0.99")]
)
def test_binomial_is_exact_for_the_sizes_in_use(k: int, n: int, p: str) -> None:
    assert binomial_cdf(k, n, float(p)) == pytest.approx(exact_cdf(k, n, Fraction(p)), rel=1e-11)


@pytest.mark.parametrize(
    ("k", "n", "p", "expected"),
    [
        (-1, 10, 0.5, 0.0),
        (-1, 10, 0.0, 0.0),
        (10, 10, 0.5, 1.0),
        (11, 10, 1.0, 1.0),
        (0, 10, 0.0, 1.0),
        (9, 10, 1.0, 0.0),
        (10, 10, 1.0, 1.0),
        (0, 1, 0.25, 0.75),
    ],
)
def test_binomial_at_its_ends(k: int, n: int, p: float, expected: float) -> None:
    assert binomial_cdf(k, n, p) == expected


def test_the_last_that_passes_is_served_not_the_first_that_fails() -> None:
    # With n = 1000, epsilon = 2 %, delta = 0.1 the largest count that passes is 13.
    assert fixed_sequence([0, 5, 13, 14, 30], 1000, 0.02, 0.1) == 2


def test_nothing_after_the_first_failure_counts() -> None:
    assert fixed_sequence([0, 14, 0, 0], 1000, 0.02, 0.1) == 0


def test_all_may_pass() -> None:
    assert fixed_sequence([0, 0, 13], 1000, 0.02, 0.1) == 2


def test_the_safest_may_fail_already() -> None:
    assert fixed_sequence([14, 0], 1000, 0.02, 0.1) is None


@pytest.mark.parametrize(("n", "served"), [(113, None), (114, 0)])
def test_without_any_loss_the_sample_must_be_large_enough(n: int, served: int | None) -> None:
    assert fixed_sequence([0], n, 0.02, 0.1) == served


def test_a_p_value_of_just_delta_passes() -> None:
    assert fixed_sequence([0], 1, 0.75, 0.25) == 0


@pytest.mark.parametrize("losses", [[0], [7], [10]])
def test_a_risk_of_one_needs_no_proof(losses: list[int]) -> None:
    assert fixed_sequence(losses, 10, 1.0, 0.05) == 0


@pytest.mark.parametrize("losses", [[0], [1]])
def test_a_risk_of_nothing_can_t_be_proved(losses: list[int]) -> None:
    assert fixed_sequence(losses, 10_000, 0.0, 0.05) is None


def test_no_policy_no_choice() -> None:
    assert fixed_sequence([], 1000, 0.02, 0.1) is None


# shared/methods.md 4.3: the largest count of losses that still passes at delta = 0.1, by epsilon and n.
LARGEST = {0.005: (0, 1, 5, 18, 40), 0.01: (1, 5, 13, 40, 86), 0.02: (5, 13, 31, 86, 181), 0.05: (18, 40, 87, 229, 471)}


@pytest.mark.parametrize("epsilon", LARGEST)
def test_the_published_counts_are_the_largest_that_pass(epsilon: float) -> None:
    for n, k in zip((500, 1000, 2000, 5000, 10_000), LARGEST[epsilon], strict=True):
        assert fixed_sequence([k, k + 1], n, epsilon, 0.1) == 0


@pytest.mark.parametrize(
    ("delta", "sizes"), [(0.1, (460, 230, 114, 45)), (0.05, (598, 299, 149, 59))], ids=["delta=0.1", "delta=0.05"]
)
def test_the_smallest_sample(delta: float, sizes: tuple[int, ...]) -> None:
    for epsilon, size in zip((0.005, 0.01, 0.02, 0.05), sizes, strict=True):
        assert smallest_sample(epsilon, delta) == size
        assert fixed_sequence([0], size, epsilon, delta) == 0
        assert fixed_sequence([0], size - 1, epsilon, delta) is None


@pytest.mark.parametrize(
    ("k", "n", "two_sided", "bound"),
    # Upper ends of exact 95 % intervals as statistics tables list them; one-sided they belong to delta = 0.025.
    [(0, 10, 0.05, 0.3085), (1, 20, 0.05, 0.2487), (5, 50, 0.05, 0.2181), (10, 100, 0.05, 0.1762)],
)
def test_upper_bounds_are_clopper_pearson(k: int, n: int, two_sided: float, bound: float) -> None:
    assert upper_bound(k, n, two_sided / 2) == pytest.approx(bound, abs=5e-5)


@settings(max_examples=30)
@given(n=st.integers(1, 20_000), delta=st.floats(1e-4, 0.5))
def test_upper_bounds_have_closed_forms_at_the_ends(n: int, delta: float) -> None:
    assert upper_bound(0, n, delta) == pytest.approx(1 - delta ** (1 / n), rel=1e-9)
    assert upper_bound(n, n, delta) == 1.0
    assert upper_bound(n - 1, n, delta) == pytest.approx((1 - delta) ** (1 / n), rel=1e-9)


@settings(max_examples=30)
@given(data=st.data(), n=st.integers(1, 3_000), delta=st.floats(1e-3, 0.5))
def test_an_upper_bound_passes_and_anything_smaller_fails(data: st.DataObject, n: int, delta: float) -> None:
    k = data.draw(st.integers(0, n))
    bound = upper_bound(k, n, delta)
    assert fixed_sequence([k], n, bound, delta) == 0
    assert fixed_sequence([k], n, bound * (1 - 1e-6), delta) is None


@settings(max_examples=30)
@given(data=st.data(), n=st.integers(20, 500), delta=st.sampled_from([0.05, 0.1]), epsilon=st.floats(0.01, 0.5))
def test_certified_risks_tell_how_far_fixed_sequence_comes(
    data: st.DataObject, n: int, delta: float, epsilon: float
) -> None:
    losses = data.draw(st.lists(st.integers(0, n), min_size=1, max_size=6))
    within = [risk <= epsilon for risk in certified_risks(losses, n, delta)]
    served = fixed_sequence(losses, n, epsilon, delta)
    assert served == (sum(within) - 1 if any(within) else None)


def early_exit_losses(
    rng: np.random.Generator, draws: int, n: int, thresholds: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Counted disagreements int64 [draws, policies] of an early exit on n samples.

    A sample with the uniform score s would disagree at the early exit with probability 0.3 (1 - s)^2; policy j lets
    those leave whose score is above thresholds[j], the others go to the end and agree.
    """
    counts = np.empty((draws, len(thresholds)), np.int64)
    for draw in range(draws):
        score = rng.random(n)
        losing = np.sort(score[rng.random(n) < 0.3 * (1 - score) ** 2])
        counts[draw] = len(losing) - np.searchsorted(losing, thresholds, side="right")
    return counts


@pytest.mark.parametrize(("n", "epsilon", "delta"), [(1000, 0.02, 0.1), (3000, 0.01, 0.05), (400, 0.05, 0.2)])
def test_promises_are_kept_over_many_calibrations(n: int, epsilon: float, delta: float) -> None:
    draws, thresholds = 500, np.linspace(1.0, 0.0, 51)
    risks = 0.1 * (1 - thresholds) ** 3
    losses = early_exit_losses(np.random.default_rng(n), draws, n, thresholds)
    served = [fixed_sequence(of_draw, n, epsilon, delta) for of_draw in losses]
    naive = [int(np.flatnonzero(of_draw / n <= epsilon)[-1]) for of_draw in losses]
    broken = np.mean([place is not None and risks[place] > epsilon for place in served])
    assert broken <= delta + 3 * math.sqrt(delta * (1 - delta) / draws)
    assert np.mean(risks[naive] > epsilon) > 0.3
    # And not by being timid: most of the risk that is allowed gets used.
    assert np.mean([0.0 if place is None else risks[place] for place in served]) > 0.5 * epsilon


@pytest.mark.parametrize("shape", [(0.1, 0.9), (1.0, 9.0), (20.0, 180.0)], ids=["almost 0/1", "spread", "narrow"])
@pytest.mark.parametrize("n", [50, 400])
def test_hoeffding_bentkus_p_values_are_valid(shape: tuple[float, float], n: int) -> None:
    # Mean loss exactly epsilon: the hardest case of "mean loss is above epsilon or equal".
    draws, epsilon = 1000, 0.1
    totals = np.random.default_rng(n).beta(*shape, size=(draws, n)).sum(axis=1)
    p_values = np.array([hoeffding_bentkus(float(total), n, epsilon) for total in totals])
    for delta in (0.01, 0.05, 0.1, 0.3):
        assert np.mean(p_values <= delta) <= delta + 3 * math.sqrt(delta * (1 - delta) / draws)


def test_hoeffding_bentkus_proves_what_is_far_below() -> None:
    assert hoeffding_bentkus(0.0, 100, 0.1) == pytest.approx(0.9**100)
    assert hoeffding_bentkus(2.5, 500, 0.05) < 0.001


@given(n=st.integers(1, 300), share=st.floats(0.0, 1.0), epsilon=st.floats(0.0, 1.0))
def test_hoeffding_bentkus_is_a_p_value(n: int, share: float, epsilon: float) -> None:
    value = hoeffding_bentkus(share * n, n, epsilon)
    assert 0.0 <= value <= 1.0
    if share > epsilon + 1e-9:
        assert value == 1.0


@given(n=st.integers(1, 300), epsilon=st.floats(0.01, 0.99), data=st.data())
def test_hoeffding_bentkus_never_beats_the_exact_p_value_of_counts(n: int, epsilon: float, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    assert hoeffding_bentkus(float(k), n, epsilon) >= binomial_cdf(k, n, epsilon) * (1 - 1e-9)


def test_sums_of_shares_are_tested_by_hoeffding_bentkus() -> None:
    assert p_value(3, 100, 0.1) == binomial_cdf(3, 100, 0.1)
    assert p_value(3.0, 100, 0.1) == hoeffding_bentkus(3.0, 100, 0.1)
    bound = upper_bound(0.4, 60, 0.05)
    assert hoeffding_bentkus(0.4, 60, bound) <= 0.05 < hoeffding_bentkus(0.4, 60, bound * 0.999)
    assert fixed_sequence([0.0, 0.4, 30.0], 60, bound, 0.05) == 1
    assert certified_risks([0.0, 0.4, 0.2], 60, 0.05)[1:] == [bound, bound]
