"""Augmentation of uint8 images, vectorised over the batch: flip and shift are one gather, cutout one mask."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Augmentation:
    """`shift` pixels at most in each direction (reflected border), `cutout` the side of a grey square (0: none)."""

    shift: int = 3
    cutout: int = 8

    def pad(self, images: Images) -> Images:
        """Reflect the borders of [n, h, w, 3] once, so that a shifted view is a gather."""
        edge = (self.shift, self.shift)
        return np.pad(images, ((0, 0), edge, edge, (0, 0)), mode="reflect")

    def draw(
        self, padded: Images, rows: NDArray[np.int64], flips: NDArray[np.bool_], rng: np.random.Generator
    ) -> Images:
        """Augmented copies [len(rows), h, w, 3] of the given rows of a padded set; `flips` says which are mirrored."""
        side = padded.shape[1] - 2 * self.shift
        span = np.arange(side)
        top = rng.integers(0, 2 * self.shift + 1, len(rows))
        left = rng.integers(0, 2 * self.shift + 1, len(rows))
        across = np.where(flips[:, None], span[::-1], span) + left[:, None]
        down = span + top[:, None]
        batch: Images = padded[rows[:, None, None], down[:, :, None], across[:, None, :]]
        if self.cutout:
            batch[cutout_mask(len(rows), side, self.cutout, rng)] = GREY
        return batch


# The mean colour of CIFAR-10: what is cut out carries no signal after normalisation.
GREY = np.array([125, 123, 114], np.uint8)


def cutout_mask(count: int, side: int, cut: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """One `cut` x `cut` square per image, fully inside; bool [count, side, side] (DeVries & Taylor 2017)."""
    span = np.arange(side)
    low = rng.integers(0, side - cut + 1, (2, count, 1))
    down, across = ((span >= edge) & (span < edge + cut) for edge in low)
    mask: NDArray[np.bool_] = down[:, :, None] & across[:, None, :]
    return mask


def alternating_flips(rows: NDArray[np.int64], epoch: int, seed: int, count: int) -> NDArray[np.bool_]:
    """Mirror each of `count` images every second epoch, a random half of them first (Jordan 2024).

    Two epochs then show both sides of every image; independent draws would show one side twice half of the time.
    """
    first = np.random.default_rng(seed).random(count) < 0.5
    flips: NDArray[np.bool_] = first[rows] ^ (epoch % 2 == 1)
    return flips
