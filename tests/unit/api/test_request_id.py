"""Request ids: the client's own where it is sane, else a new one each time."""

from __future__ import annotations

import pytest

from service.api.request_id import choose


@pytest.mark.parametrize("given", ["a", "0f:1.2_-", "x" * 128])
def test_a_sane_id_is_kept(given: str) -> None:
    assert choose(given) == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "\u00fc", "a\r\nb"])
def test_any_other_gets_a_new_one(given: str) -> None:
    made = [choose(given) for _ in range(100)]
    assert len({*made, given}) == 101
    assert all(choose(one) == one for one in made)
