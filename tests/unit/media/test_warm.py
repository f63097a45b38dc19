"""Decoders kept open: the latest used, as many as memory allows."""

from __future__ import annotations

import gc
from dataclasses import dataclass

from service.media.warm import Warm

MEGAPIXEL = 1_000_000


@dataclass(eq=False)
class Kept:
    area: int
    warm: bool = False
    busy: bool = False

    def cool(self) -> bool:
        self.warm = self.warm and self.busy
        return not self.warm


def use(warm: Warm, *sources: Kept) -> None:
    for source in sources:
        source.warm = True
        warm.used(source)


def test_the_longest_unused_are_closed() -> None:
    warm, (a, b, c) = Warm(2 * MEGAPIXEL), (Kept(MEGAPIXEL) for _ in range(3))
    use(warm, a, b, a, c)
    assert (a.warm, b.warm, c.warm) == (True, False, True)


def test_one_larger_than_all_room_stays_while_it_is_used() -> None:
    warm, small, large = Warm(2 * MEGAPIXEL), Kept(MEGAPIXEL), Kept(5 * MEGAPIXEL)
    use(warm, small, large)
    assert (small.warm, large.warm) == (False, True)


def test_one_at_work_is_left_alone_and_the_next_closed() -> None:
    warm, busy, idle, new = Warm(2 * MEGAPIXEL), Kept(MEGAPIXEL, busy=True), Kept(MEGAPIXEL), Kept(MEGAPIXEL)
    use(warm, busy, idle, new)
    assert (busy.warm, idle.warm, new.warm) == (True, False, True)


def test_small_pictures_aren_t_free() -> None:
    warm, many = Warm(MEGAPIXEL), [Kept(1) for _ in range(100)]
    use(warm, *many)
    assert 10 < sum(source.warm for source in many) < 20


def test_those_that_are_gone_take_no_room() -> None:
    warm, stays = Warm(2 * MEGAPIXEL), Kept(MEGAPIXEL)
    use(warm, stays)
    for _ in range(5):
        use(warm, Kept(MEGAPIXEL))
        gc.collect()
    assert stays.warm
