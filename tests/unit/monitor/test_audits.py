"""What an audit says of each price is what walks at these prices would have answered."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.core import FULL, Audit, Price
from service.monitor.audits import losses
from service.task.classification import Classification
from service.task.segmentation import Segmentation

PRICES = np.array([-np.inf, 0.0, 1.0, 2.0, np.inf])


def answer_at(audit: Audit, price: float) -> int:
    """Written as a walk: at each exit, go on or leave."""
    for worth, answer in zip(audit.worths[:-1], audit.answers[:-1], strict=True):
        if price != FULL and worth <= price:
            return answer
    return audit.answers[-1]


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, np.inf]), st.integers(0, 2)), min_size=1, max_size=6)
)
def test_every_price_gets_the_answer_of_its_walk(exits: list[tuple[float, int]]) -> None:
    audit = Audit([Price(worth) for worth, _ in exits[:-1]] + [FULL], [answer for _, answer in exits])
    found = losses(audit, PRICES, Classification())
    assert found.tolist() == [answer_at(audit, price) != exits[-1][1] for price in PRICES]
    assert not found[0], "the full network agrees with itself"


def test_on_a_graph_only_what_was_walked_is_known() -> None:
    audit = Audit(walks={FULL: 1, Price(1.0): 1, Price(2.0): 0})
    found = losses(audit, PRICES, Classification())
    assert np.isnan(found).tolist() == [False, True, False, False, True]
    assert found[[0, 2, 3]].tolist() == [0.0, 0.0, 1.0]


def test_dense_answers_lose_the_share_in_which_they_differ() -> None:
    full, near = np.zeros((2, 4), np.uint8), np.array([[0, 0, 0, 1], [0, 0, 0, 0]], np.uint8)
    chain = Audit([Price(0.5), FULL], [near, full])
    assert losses(chain, PRICES, Segmentation()).tolist() == [0.0, 0.0, 0.125, 0.125, 0.125]
    graph = Audit(walks={FULL: full, Price(1.0): near})
    assert losses(graph, PRICES, Segmentation())[2] == 0.125
