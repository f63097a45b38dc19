import numpy as np
import pytest

from service.core import CHEAPEST, FULL
from service.errors import PackageError
from service.routing.base import LEAVE, build
from tests.unit.routing.readers import LOOK_MACS, outputs, package

TABLES = {
    "temperature": np.ones(1, np.float32),
    "knob_prices": np.array([-np.inf, 0.0, 1.0, 2.0]),
    "knobs": np.array([0.0, 0.5, 1.0, 1e6], np.float32),
    "skim_share": np.array([0.5], np.float32),
}
# Places are read1, skim1, read2, skim2, ..
READ_NEXT, SKIM_NEXT = 2, 1


def routed(step, price, *, whole=1.0, at=0, size=9):
    told = outputs(at=[at], size=[size], logit=[0.0], gate=[[step, whole]])
    return build(package("reader-skip", TABLES, skims=True)).route(0, told, np.array([price]))


@pytest.mark.parametrize(
    ("step", "price", "chunk"),
    [(0.1, FULL, 1), (0.5, 0.0, 1), (0.49, 0.0, 2), (0.1, 0.0, 5), (0.5, 1.0, 2), (0.3, 1.0, 4), (1.0, 1.0, 1)],
)
def test_the_steps_that_it_takes_to_be_full_are_how_far_the_next_look_is(step, price, chunk):
    routing = routed(step, price)
    assert int(routing.look[0][0, 0]) == chunk
    assert routing.next.tolist() == [READ_NEXT]
    assert routing.signals["leaves_out"].tolist() == [chunk - 1]


@pytest.mark.parametrize(("step", "price"), [(0.1, 1.0), (0.9, CHEAPEST), (0.9, 2.0)])
def test_a_walk_ends_where_no_chunk_ahead_fills_the_sum(step, price):
    assert routed(step, price).next.tolist() == [LEAVE]


def test_nothing_is_left_after_the_last_chunk():
    routing = routed(0.9, FULL, at=8)
    assert routing.next.tolist() == [LEAVE]
    assert routing.worth.tolist() == [-np.inf]


@pytest.mark.parametrize("step", [0.01, 0.06, 0.0625, 0.125, 0.13, 0.5, 1.0])
def test_the_worth_is_the_price_from_which_on_it_leaves(step):
    worth = routed(step, 0.0).worth[0]
    for price in (0.0, 1.0, 2.0):
        assert (routed(step, price).next[0] == LEAVE) == (price >= worth)


def test_where_the_gate_prefers_it_a_chunk_is_skimmed():
    assert routed(0.9, 1.0, whole=0.4).next.tolist() == [SKIM_NEXT]
    assert routed(0.9, 1.0, whole=0.6).next.tolist() == [READ_NEXT]
    assert routed(0.9, FULL, whole=0.0).next.tolist() == [READ_NEXT]


def test_without_a_stage_for_it_nothing_is_skimmed():
    told = outputs(at=[0], size=[9], logit=[0.0], gate=[[0.9, 0.0]])
    routing = build(package("reader-skip", TABLES)).route(0, told, np.array([1.0]))
    assert routing.next.tolist() == [1]
    assert routing.full.tolist() == [4 * LOOK_MACS]


@pytest.mark.parametrize(
    ("name", "value"), [("knobs", np.array([0.1, 0.5, 1.0, 2.0])), ("knobs", np.array([0.0, 0.7, 0.5, 2.0]))]
)
def test_knobs_that_do_not_rise_from_0_are_refused(name, value):
    with pytest.raises(PackageError, match="rise"):
        build(package("reader-skip", TABLES | {name: value}))
