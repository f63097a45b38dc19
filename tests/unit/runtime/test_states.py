"""Slots: none twice, none lost."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.runtime.states import StatePool


def test_every_state_has_a_row_for_every_slot() -> None:
    pool = StatePool(5, {"h": (3, 2), "score": ()})
    assert {name: (array.shape, array.dtype) for name, array in pool.tensors.items()} == {
        "h": ((5, 3, 2), np.float32),
        "score": ((5,), np.float32),
    }


def test_no_slot_is_left_when_all_are_taken() -> None:
    pool = StatePool(2, {})
    assert {pool.take(), pool.take()} == {0, 1}
    assert pool.free == 0
    assert pool.take() is None


def test_the_slot_used_last_is_used_next() -> None:
    pool = StatePool(4, {})
    slots = [pool.take() for _ in range(3)]
    assert slots[1] is not None
    pool.give_back(slots[1])
    assert pool.take() == slots[1]


@given(capacity=st.integers(1, 5), steps=st.lists(st.integers(0, 9)))
def test_no_slot_is_handed_out_twice_and_none_is_lost(capacity: int, steps: list[int]) -> None:
    """Each step either takes a slot (even) or gives back one of those held (odd)."""
    pool = StatePool(capacity, {})
    held: list[int] = []
    for step in steps:
        if step % 2 and held:
            pool.give_back(held.pop(step % len(held)))
        elif (slot := pool.take()) is not None:
            held.append(slot)
        assert len(set(held)) == len(held)
        assert set(held) <= set(range(capacity))
        assert pool.free == capacity - len(held)
