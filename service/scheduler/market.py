"""The market price of compute: what load adds to the price that every walker's budget already sets.

A walker pays `terms.price(market.price)`, which the conductor reads at every batch. The price is 0 while the waiting
walkers can be served by their deadlines. This market is always calm: it doesn't react to load yet.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.core import NEUTRAL, Price


@dataclass(slots=True)
class Market:
    """The price now, never below 0."""

    price: Price = NEUTRAL
