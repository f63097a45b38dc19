import numpy as np
import pytest

from service.core import FULL
from service.routing.base import LEAVE, build
from service.routing.reader_jump import best_jump, landing
from service.routing.reading import JUMPS
from tests.unit.routing.readers import outputs, package, stop_tables


def best(way):
    return [[1.0 if place == way else 0.0 for place in range(len(JUMPS))]]


@pytest.mark.parametrize(
    ("way", "chunk"), [(0, 1), (1, 3), (2, 5), (3, 7), (4, 6), (5, 4)], ids=[str(jump) for jump in JUMPS]
)
def test_a_jump_counts_unread_chunks_from_its_end(way, chunk):
    router = build(package("reader-jump", stop_tables()))
    told = outputs(at=[2], size=[8], logit=[0.0], read=[[0, 2]], jumps=best(way))
    routing = router.route(1, told, np.array([FULL]))
    assert routing.next.tolist() == [2]
    assert int(routing.look[0][0, 0]) == chunk


def test_where_it_jumps_does_not_depend_on_the_price():
    router = build(package("reader-jump", stop_tables()))
    told = outputs(at=[0] * 3, size=[8] * 3, logit=[0.0] * 3, read=[[0]] * 3, jumps=best(4) * 3)
    looks = router.route(0, told, np.array([FULL, 0.0, 5.0])).look
    assert len({look.tobytes() for look in looks}) == 1


def test_jumps_past_what_is_unread_are_not_taken():
    assert best_jump(np.array([[0.1, 0.9, 0.8, 0.2, 0.7, 0.6]]), np.array([1.0])).tolist() == [3]


def test_a_walk_that_nothing_stops_reads_everything_once():
    router = build(package("reader-jump", stop_tables()))
    read, at = [0], 0
    for place in range(3):
        told = outputs(at=[at], size=[4], logit=[0.0], read=[read], jumps=[[0.1, 0.9, 0.3, 0.2, 0.4, 0.5]])
        routing = router.route(place, told, np.array([FULL]))
        at = int(routing.look[0][0, 0])
        read = [*read, at]
    assert sorted(read) == [0, 1, 2, 3]
    last = router.route(3, outputs(at=[at], size=[4], logit=[0.0], read=[read]), np.array([FULL]))
    assert last.next.tolist() == [LEAVE]


def test_landing_is_for_each_row():
    left = np.zeros((2, 64), bool)
    left[0, [1, 4, 6]] = left[1, [2, 3]] = True
    assert landing(left, np.array([1.0, 1]), np.array([False, True])).tolist() == [4, 2]
