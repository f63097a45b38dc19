"""What the backbone makes of photos and of crops of them, computed once and kept: heads and policy learn on that.

Pictures are scaled by the very functions that serve (service/media/pixels.py), and the candidate boxes of the policy
are those that the package's router chooses from.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.nets.lite import LiteNet
from models.training.precision import autocast
from service.media.pixels import cut, fit, within

BATCH = 50


def candidates(side: int, shares: tuple[float, ...]) -> NDArray[np.float32]:
    """A grid of `side` x `side` boxes of each share of the picture's side: float32 [side^2 x len(shares), 4]."""
    boxes = [
        (top, left, top + share, left + share)
        for share in shares
        for top in np.linspace(0, 1 - share, side)
        for left in np.linspace(0, 1 - share, side)
    ]
    return np.array(boxes, np.float32).clip(0, 1)


@torch.no_grad()
def seen(net: LiteNet, pictures: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 [n, h, w, 3] to the mean of the backbone's map, float32 [n, 1280]."""
    return maps(net, pictures).mean((2, 3))


@torch.no_grad()
def maps(net: nn.Module, pictures: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 [n, h, w, 3] to the backbone's map, float32 [n, 1280, h / 32, w / 32]."""
    with autocast():
        return torch.cat(
            [net(torch.from_numpy(some)).float() for some in np.split(pictures, range(BATCH, len(pictures), BATCH))]
        )


def whole(photos: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """As an `image` glimpse of that size shows them."""
    return np.stack([fit(photo, size, size) for photo in photos])


def crops(photos: NDArray[np.uint8], boxes: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
    """As a `crop` glimpse of that size shows them: one box [4] a photo, boxes [n, 4]."""
    height, width = photos.shape[1:3]
    outer = (0.0, 0.0, float(height), float(width))
    return np.stack(
        [cut(photo, within(outer, box), size, size) for photo, box in zip(photos, boxes.tolist(), strict=True)]
    )


def kept(file: Path, make: object) -> torch.Tensor:
    """What `make()` gives, from `file` if it was made before."""
    if not file.exists():
        made = make()  # type: ignore[operator]
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(made, file)
    loaded: torch.Tensor = torch.load(file, weights_only=True)
    return loaded
