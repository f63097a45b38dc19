"""Stage times: between the measured sizes, beyond them, and as the machine's speed drifts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.scheduler.estimator import StageTimes

MEASURED = {1: 1.0, 2: 1.5, 4: 2.0, 8: 4.0}


def times(measured: dict[int, float] = MEASURED) -> StageTimes:
    return StageTimes(list(measured), list(measured.values()))


@pytest.mark.parametrize(("rows", "seconds"), [(1, 1.0), (2, 1.5), (3, 1.75), (4, 2.0), (6, 3.0), (8, 4.0), (16, 8.0)])
def test_times_are_measured_or_drawn_in_between(rows: int, seconds: float) -> None:
    assert times().seconds(rows) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("measured", "best"),
    [
        (MEASURED, 4),
        ({1: 1.0, 2: 2.0, 4: 4.0}, 1),
        ({1: 1.0, 2: 1.0, 4: 1.0}, 4),
        # Less than 5 % a row faster is not worth a larger batch.
        ({1: 1.0, 2: 1.92, 4: 3.84}, 1),
        ({1: 1.0, 2: 1.88, 4: 3.8}, 2),
        ({1: 0.5}, 1),
    ],
)
def test_the_best_batch_is_the_smallest_that_no_larger_one_beats_clearly(measured: dict[int, float], best: int) -> None:
    assert times(measured).best_rows == best


@pytest.mark.parametrize(("sizes", "measured"), [([], []), ([2], [1.0]), ([1, 2], [1.0])])
def test_what_is_no_profile_is_refused(sizes: list[int], measured: list[float]) -> None:
    with pytest.raises(ValueError, match="starts with 1 row"):
        StageTimes(sizes, measured)


def test_a_batch_as_expected_changes_no_time() -> None:
    learning = times()
    for rows in (1, 3, 8, 20):
        learning.observe(rows, times().seconds(rows))
    assert learning.drift == pytest.approx(1.0)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.5])
def test_a_lasting_change_of_speed_is_learnt(factor: float) -> None:
    learning = times()
    for _ in range(300):
        learning.observe(2, 1.5 * factor)
    assert [learning.seconds(rows) for rows in (1, 2, 8)] == pytest.approx([factor, 1.5 * factor, 4 * factor], rel=1e-3)
    assert learning.bound(2) == pytest.approx(1.5 * factor, rel=1e-2)


def test_one_stall_poisons_nothing() -> None:
    learning = times()
    learning.observe(1, 1e6)
    assert learning.seconds(1) < 1.2


def test_noise_raises_the_bound_and_leaves_the_expectation() -> None:
    steady, noisy = times(), times()
    for turn in range(400):
        steady.observe(1, 1.0)
        noisy.observe(1, 0.6 if turn % 2 else 1.4)
    assert noisy.seconds(1) == pytest.approx(steady.seconds(1), rel=0.05)
    assert noisy.bound(1) > 1.4 > steady.bound(1)


@given(
    measured=st.lists(st.floats(1e-4, 10.0), min_size=1, max_size=5).map(sorted),
    most=st.integers(1, 40),
    seconds=st.floats(0.0, 50.0),
    seen=st.lists(st.tuples(st.integers(1, 20), st.floats(1e-4, 50.0)), max_size=5),
)
def test_the_largest_batch_that_surely_fits(
    measured: list[float], most: int, seconds: float, seen: list[tuple[int, float]]
) -> None:
    learnt = times({2**place: time for place, time in enumerate(measured)})
    for rows, took in seen:
        learnt.observe(rows, took)
    rows = learnt.rows_within(seconds, most)
    assert 1 <= rows <= most
    assert rows == 1 or learnt.bound(rows) <= seconds
    assert all(learnt.bound(more) * (1 + 1e-9) > seconds for more in range(rows + 1, most + 1))


@given(rows=st.integers(1, 100), seen=st.lists(st.tuples(st.integers(1, 20), st.floats(0.0, 50.0)), max_size=20))
def test_a_bound_is_never_below_the_expectation(rows: int, seen: list[tuple[int, float]]) -> None:
    learnt = times()
    for count, took in seen:
        learnt.observe(count, took)
    assert 0 < learnt.seconds(rows) <= learnt.bound(rows)
