import numpy as np
import pytest

from service.core import CHEAPEST, FULL
from service.errors import PackageError
from service.routing.base import LEAVE, build
from service.routing.reading import Stops, unread
from tests.unit.routing.readers import LAPS, LOOK_MACS, outputs, package, stop_tables


def prices(*values):
    return np.array(values, np.float64)


def chunk(look):
    return None if look is None else int(look[0, 0])


def test_what_is_unread_is_there_and_unmarked():
    done = np.zeros((2, 64), np.float32)
    done[0, [0, 2]] = 1
    assert [np.flatnonzero(row).tolist() for row in unread(done, np.array([4.0, 2]))] == [[1, 3], [0, 1]]


def test_the_worth_is_that_of_the_group_and_the_score():
    stops = Stops.of(package("reader-stop", stop_tables()))
    assert stops.worth(1, np.array([1, 5, 0]), np.array([0.6, 0.9, 0.6])).tolist() == [4.0, 2.0, -np.inf]
    assert stops.worth(3, np.array([1, 2]), np.array([0.9, 0.79])).tolist() == [0.5, 6.0]


def test_later_laps_have_the_last_temperature():
    stops = Stops.of(package("reader-stop", stop_tables()))
    logits = np.array([[0.0, 2.0]], np.float32)
    assert stops.answer(logits, 2)[1] == stops.answer(logits, 9)[1] < stops.answer(logits, 1)[1]


def test_a_walk_goes_on_while_that_is_worth_its_price():
    router = build(package("reader-stop", stop_tables()))
    told = outputs(at=[0] * 4, size=[3] * 4, logit=[0.5, 0.5, 4.0, 4.0])
    routing = router.route(0, told, prices(7.9, 8.0, 1.9, 2.0))
    assert routing.next.tolist() == [1, LEAVE, 1, LEAVE]
    assert routing.worth.tolist() == [8.0, 8.0, 2.0, 2.0]
    assert routing.full.tolist() == [3 * LOOK_MACS] * 4
    assert [chunk(look) for look in routing.look] == [2, None, 2, None]


def test_both_ends_come_first_and_then_the_rest_in_order():
    router = build(package("reader-stop", stop_tables()))
    order = [0]
    for place in range(LAPS):
        routing = router.route(place, outputs(at=[order[-1]], size=[9], logit=[0.0]), prices(FULL))
        if routing.next[0] == LEAVE:
            break
        assert routing.next.tolist() == [place + 1]
        order.append(chunk(routing.look[0]))
    assert order == [0, 8, 1, 2]
    assert routing.full.tolist() == [LAPS * LOOK_MACS]


def test_an_order_from_the_back_begins_there_and_reads_the_first_chunk_second():
    router = build(package("reader-stop", stop_tables(), order="back"))
    order = [8]
    for place in range(LAPS - 1):
        order.append(chunk(router.route(place, outputs(at=[order[-1]], size=[9], logit=[0.0]), prices(FULL)).look[0]))
    assert order == [8, 0, 7, 6]
    two = router.route(0, outputs(at=[1], size=[2], logit=[0.0]), prices(FULL))
    assert chunk(two.look[0]) == 0


def test_an_unknown_order_is_refused_by_name():
    with pytest.raises(PackageError, match="'sideways'"):
        build(package("reader-stop", stop_tables(), order="sideways"))


def test_an_order_from_the_front_reads_on():
    router = build(package("reader-stop", stop_tables(), order="front"))
    assert chunk(router.route(0, outputs(at=[0], size=[9], logit=[0.0]), prices(FULL)).look[0]) == 1


@pytest.mark.parametrize("place", [1, LAPS - 1])
def test_a_walk_ends_where_nothing_is_left_to_read(place):
    router = build(package("reader-stop", stop_tables()))
    size = 2 if place == 1 else 99
    routing = router.route(place, outputs(at=[1], size=[size], logit=[0.0]), prices(FULL))
    assert routing.next.tolist() == [LEAVE]
    assert routing.worth.tolist() == [-np.inf]


def test_the_cheapest_walk_leaves_after_one_chunk():
    router = build(package("reader-stop", stop_tables()))
    assert router.route(0, outputs(at=[0], size=[9], logit=[0.0]), prices(CHEAPEST)).next.tolist() == [LEAVE]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", None),
        ("temperature", np.array([1.0, -1], np.float32)),
        ("stop_worth", np.zeros((3, 2))),
        ("stop_worth", np.full((4, 2), np.nan)),
        ("stop_edges", np.tile(np.array([0.9, 0.8, 1.0], np.float32), (4, 1))),
        ("stop_rests", None),
    ],
)
def test_tables_that_do_not_fit_are_refused(name, value):
    tables = stop_tables() | {name: value}
    with pytest.raises(PackageError, match=r"calibration\.npz"):
        build(package("reader-stop", {key: table for key, table in tables.items() if table is not None}))
