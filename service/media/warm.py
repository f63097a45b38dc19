"""Decoders kept open between looks, as many as memory allows.

A decoder that stands where the last look left it saves a seek and the frames from there, but holds up to sixteen
pictures. Walkers that wait for their next look are many, so the decoders longest unused are closed; their next look
opens another, and sees the same.
"""

from __future__ import annotations

import threading
import weakref
from typing import Protocol

MAX_PIXELS = 8 * 1920 * 1080
"""Pixels of a frame, summed over all sources that keep a decoder: with 20 to 30 bytes each, up to half a GB."""
_LEAST_PIXELS = 65_536
"""What a decoder takes apart from its pictures, as pixels."""


class Coolable(Protocol):
    """What can close its decoders for now."""

    @property
    def area(self) -> int:
        """Pixels of one frame."""

    def cool(self) -> bool:
        """Close the decoders unless they are at work; whether they are closed."""


class Warm:
    """Knows who keeps decoders open, longest unused first. Keeps nobody alive."""

    def __init__(self, max_pixels: int = MAX_PIXELS) -> None:
        self._max_pixels = max_pixels
        self._sources: list[weakref.ref[Coolable]] = []
        self._lock = threading.Lock()

    def used(self, source: Coolable) -> None:
        """A source has just looked; others are closed if that makes too many."""
        with self._lock:
            alive = [one for ref in self._sources if (one := ref()) is not None and one is not source]
            excess = sum(map(_pixels, [*alive, source])) - self._max_pixels
            kept: list[Coolable] = []
            for one in alive:
                if excess > 0 and one.cool():
                    excess -= _pixels(one)
                else:
                    kept.append(one)
            self._sources = [weakref.ref(one) for one in (*kept, source)]


def _pixels(source: Coolable) -> int:
    return max(source.area, _LEAST_PIXELS)


WARM = Warm()
"""Of this process: memory is the process's, too."""
