"""The market price of compute: the lowest price at which every waiting walker can be served by its deadline.

Counted in device seconds: the price says how much correctness one more second must buy. A model's price per GMAC is
that times its measured seconds per GMAC, so compute goes to the model and the walker where it buys most. The price is
a pure function of the walkers waiting, the stage times and the clock; it reacts to the queue as it is and forecasts
nothing.

To clear, the waiting walkers are laid out in the order of service, each with the work that it is expected to want at a
price; the price is high enough when each is done by its deadline, and the work before it takes no more than a fifth of
the time that it has left, so that a burst still finds room. A walker's own terms bound what it pays, so a certified
walker weighs the same at every price. Deadlines that no price can save don't count: they would make everybody cheap
for nobody's good.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.core import CHEAPEST, NEUTRAL, Price, Walker
from service.scheduler.book import Book, Entry
from service.scheduler.estimator import StageTimes
from service.scheduler.outlook import Outlook

MENU = np.concatenate(([0.0], np.geomspace(1e-2, 1e4, 61), [math.inf]))
"""Prices that the market can take, correctness per device second: ten steps a decade between 0 and infinity."""
LAST = len(MENU) - 1
STEPS_PER_PRIORITY = 3
"""One step of priority halves or doubles the price that a walker pays: 10^0.3 is 2."""
_SHARE = 0.2
"""Share of the time left to its deadline that a walker may wait for those before it: a queue that is full to its
deadlines has no room for a burst. Its own walk may take all that is left: alone, nobody pays."""
_REFRESH_S = 0.02
"""Stage times drift slowly: the tables of expected work are made anew this often."""


@dataclass(frozen=True, slots=True)
class Trade:
    """A model on the market: what its walkers still want by price and stage, what a row of each stage takes."""

    outlook: Outlook
    times: Sequence[StageTimes]
    macs: Sequence[int]

    def row_seconds(self) -> list[float]:
        """Seconds of one row of each stage, in a batch of the size that pays."""
        return [times.seconds(times.best_rows) / times.best_rows for times in self.times]


class Tables:
    """Expected work of all models in one flat array, and where the menu's prices lie on each model's path."""

    def __init__(self, trades: Sequence[Trade]) -> None:
        self._trades = trades
        shapes = [trade.outlook.reach.shape[:2] for trade in trades]
        # One column more than stages: whoever leaves rather than go on wants nothing.
        self.width = np.array([stages + 1 for _, stages in shapes], np.int64)
        sizes = [prices * (stages + 1) for prices, stages in shapes]
        self.offset = np.cumsum([0, *sizes])[:-1].astype(np.int64)
        self.flat = np.zeros(sum(sizes))
        self.rates = [0.0] * len(trades)
        self.places = np.zeros((len(trades), len(MENU)), np.int64)
        self._drifts: list[list[float]] = [[] for _ in trades]
        self.refresh()

    def refresh(self) -> None:
        """Take in how the stage times have drifted: of those models that ran since."""
        for number, trade in enumerate(self._trades):
            drifts = [times.drift for times in trade.times]
            if drifts != self._drifts[number]:
                self._drifts[number] = drifts
                self._fill(number, trade)

    def _fill(self, number: int, trade: Trade) -> None:
        row = trade.row_seconds()
        work = trade.outlook.seconds(row)
        start, width = self.offset[number], self.width[number]
        self.flat[start : start + len(work) * width].reshape(-1, width)[:, :-1] = work
        self.rates[number] = sum(row) / max(sum(trade.macs), 1) * 1e9
        self.places[number] = _places(trade.outlook, self.rates[number])

    def to_exit(self, entry: Entry) -> float:
        """Seconds to the next exit: what is left to run at the last price of the path."""
        last = self.places[entry.model, LAST]
        return float(self.flat[self.offset[entry.model] + last * self.width[entry.model] + entry.stage])

    def cheapest(self, entry: Entry) -> float:
        """Expected seconds of one walker's rest at the highest price that it may pay."""
        place = min(max(int(self.places[entry.model, LAST]), entry.floor), entry.ceiling)
        return float(self.flat[self.offset[entry.model] + place * self.width[entry.model] + entry.stage])


def _places(outlook: Outlook, rate: float) -> NDArray[np.int64]:
    """For each price of the menu its place on a path; the price 0 leaves every walker at its own floor."""
    paid = MENU * rate
    paid[0] = -math.inf
    return np.maximum(np.searchsorted(outlook.prices, paid, side="right") - 1, 0)


class Market:
    """Keeps the waiting walkers' wants and clears them; `lanes` work side by side."""

    def __init__(self, trades: Mapping[str, Trade], *, lanes: int = 1) -> None:
        self._numbers = {name: number for number, name in enumerate(trades)}
        self._trades = list(trades.values())
        self._tables = Tables(self._trades)
        self._book = Book()
        self._lanes = lanes
        self._place = 0
        self._refreshed_at = -math.inf

    def put(self, name: str, trade: Trade) -> None:
        """A model comes to the market, or another in the place of its namesake, none of whose walkers waits."""
        if name in self._numbers:
            self._trades[self._numbers[name]] = trade
        else:
            self._numbers[name] = len(self._trades)
            self._trades.append(trade)
        self._tables = Tables(self._trades)

    @property
    def price(self) -> Price:
        """The price at the last clearing, correctness per device second; 0 while every deadline can be met."""
        return Price(float(MENU[self._place]))

    def price_for(self, walker: Walker) -> Price:
        """What a walker pays now, correctness per GMAC: the market's price within its terms."""
        place = int(_shifted(self._place, _shift(walker)))
        if place in (0, LAST):
            return walker.terms.price(NEUTRAL if place == 0 else CHEAPEST)
        return walker.terms.price(Price(float(MENU[place]) * self._tables.rates[self._numbers[walker.model]]))

    def add(self, walker: Walker) -> None:
        """A walker begins to wait at its stage."""
        self._book.add(walker, self._entry(walker))

    def remove(self, walker: Walker) -> None:
        """A walker no longer waits."""
        self._book.remove(walker)

    def clear(self, now: float, busy_s: float) -> None:
        """Find the price; `busy_s` are the seconds until a lane is free, on average over the lanes.

        The search begins at the last price and its neighbour: from one batch to the next it hardly moves.
        """
        self._refresh(now)
        if not len(self._book):
            self._place = 0
            return
        wants = self._wants(now, busy_s)
        if not wants.fit(self._place):
            wants.forgive()
        self._place = self._cheaper(wants) if wants.fit(self._place) else self._dearer(wants)

    def lateness(self, walker: Walker, now: float, busy_s: float) -> float:
        """Were this walker to wait too, all at the highest price: by how many seconds would it be late, or make late
        somebody who is in time without it? 0 or less when there is room for it.
        """
        self._refresh(now)
        entry = self._entry(walker)
        alone, work = self._tables.to_exit(entry) / self._lanes, self._tables.cheapest(entry) / self._lanes
        return self._wants(now, busy_s).lateness_with(entry, alone - (entry.deadline - now - busy_s), work)

    def seconds_to_exit(self, walker: Walker) -> float:
        """Seconds to the walker's next exit on an idle device."""
        return self._tables.to_exit(self._entry(walker))

    def _entry(self, walker: Walker) -> Entry:
        number = self._numbers[walker.model]
        return _entry(walker, number, self._trades[number].outlook)

    def _cheaper(self, wants: Wants) -> int:
        place = self._place
        while place > 0 and wants.fit(place - 1):
            place -= 1
        return place

    def _dearer(self, wants: Wants) -> int:
        if self._place == LAST:
            return LAST
        low, high = self._place + 1, LAST
        middle = low
        while low < high:
            low, high = (low, middle) if wants.fit(middle) else (middle + 1, high)
            middle = (low + high) // 2
        return high

    def _wants(self, now: float, busy_s: float) -> Wants:
        return Wants(self._book, self._tables, now, busy_s, self._lanes)

    def _refresh(self, now: float) -> None:
        if now - self._refreshed_at > _REFRESH_S:
            self._tables.refresh()
            self._refreshed_at = now


class Wants:
    """The waiting walkers in the order of service, at one moment."""

    def __init__(self, book: Book, tables: Tables, now: float, busy_s: float, lanes: int) -> None:
        self._order = np.argsort(book.times[0], kind="stable")
        self._urgency = book.times[0][self._order]
        self._left = book.times[1][self._order] - now - busy_s
        # A deadline that has passed already is no nearer for a share of it.
        self._wanted = np.minimum(self._left, self._left * _SHARE)
        codes = book.codes[:, self._order]
        self._model, self._stage, self._floor, self._ceiling, self._last, self._shift = codes
        self._tables, self._lanes = tables, lanes
        self._width, self._offset = tables.width[self._model], tables.offset[self._model]

    def fit(self, place: int) -> bool:
        """Whether at this place of the menu everybody is served in time."""
        work = self._work(place)
        finish = work.cumsum()
        # Not `finish - work`: rounded, that needn't fall as the price rises.
        begin = np.concatenate(([0.0], finish))[:-1]
        return bool(((finish <= self._left) & (begin <= self._wanted)).all())

    def forgive(self) -> None:
        """Leave out the deadlines that not even the highest price can save."""
        hopeless = self._finish(LAST) > self._left
        self._left = np.where(hopeless, math.inf, self._left)
        self._wanted = np.where(hopeless, math.inf, self._wanted)

    def lateness_with(self, entry: Entry, late_alone: float, work: float) -> float:
        """See `Market.lateness`; alone the newcomer would reach an exit `late_alone` seconds after its deadline
        (negative: before), and it takes `work` seconds from those behind it.
        """
        finish = self._finish(LAST)
        place = int(np.searchsorted(self._urgency, entry.urgency, side="right"))
        own = late_alone + (finish[place - 1] if place else 0.0)
        spare = (self._left - finish)[place:]
        harmed = spare[(spare >= 0) & (spare < work)]
        return float(max(own, work - harmed.min() if len(harmed) else own))

    def _finish(self, place: int) -> NDArray[np.float64]:
        """Expected seconds until each is done, in the order of service."""
        return np.asarray(self._work(place).cumsum())

    def _work(self, place: int) -> NDArray[np.float64]:
        """Expected seconds that each takes from those behind it."""
        moved = _shifted(place, self._shift)
        paid = np.minimum(np.maximum(self._tables.places[self._model, moved], self._floor), self._ceiling)
        column = np.where(paid > self._last, self._width - 1, self._stage)
        work = self._tables.flat[self._offset + paid * self._width + column]
        return np.asarray(work / self._lanes)


def _shifted(place: int, shift: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """A place of the menu, moved by priorities; 0 and infinity are the same for everybody."""
    if place in (0, LAST):
        return np.asarray(place) + 0 * np.asarray(shift, np.int64)
    return np.minimum(np.maximum(place + np.asarray(shift, np.int64), 1), LAST - 1)


def _shift(walker: Walker) -> int:
    return STEPS_PER_PRIORITY * (walker.terms.priority - 3)


def _entry(walker: Walker, number: int, outlook: Outlook) -> Entry:
    terms = walker.terms
    floor = outlook.place(terms.floor)
    last = len(outlook.prices)
    if walker.standing is not None:
        last = max(floor, outlook.last_below(walker.worth))
    return Entry(
        urgency=walker.urgency_at,
        deadline=terms.deadline.at,
        model=number,
        stage=walker.stage,
        floor=floor,
        ceiling=outlook.place(terms.ceiling),
        last=last,
        shift=_shift(walker),
    )
