"""Training of the last level of the refining segmentation net: points of maps whose tiles were refined, all or some."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.nets.refine import Coarse, Tile, refined
from models.nets.refine_points import HEIGHT, WIDTH, Points, margins, seen_at, told_at
from models.nets.refine_stages import cut
from models.training.camvid import Seen
from models.training.dense import pixel_loss, train
from models.training.precision import autocast

DOUBTFUL = 6000
"""Points of a view among the most doubtful of which most are drawn: half again as many as a walk may refine."""
SHARES = (1.0, 0.3, 0.0)
"""Of a view's tiles that are refined before, in turn: a walk has refined any number of them."""


@dataclass(frozen=True)
class Dots:
    """Points of the views: `told` [n, 9, classes] and `seen` uint8 [n, 192] around each, `masks` uint8 [n, 4]."""

    told: Tensor
    seen: Tensor
    masks: Tensor


def quads(mask: NDArray[np.uint8]) -> Tensor:
    """A mask [360, 480] by points: uint8 [43200, 4], each one's pixels row by row."""
    return torch.from_numpy(mask.reshape(HEIGHT, 2, WIDTH, 2).transpose(0, 2, 1, 3).reshape(-1, 4).copy())


@torch.no_grad()
def dots(coarse: Coarse, tile: Tile, data: Seen, *, doubtful: int = 1024, others: int = 256, seed: int = 0) -> Dots:
    """Points of every view: so many of the `DOUBTFUL`, and some of the others."""
    rng, found = np.random.default_rng(seed), []
    for row in range(len(data.masks)):
        logits = _logits(coarse, tile, data, row, SHARES[row % len(SHARES)])
        order = margins(logits)[0].argsort().numpy()
        sure = rng.choice(order[DOUBTFUL:], others, replace=False)
        spots = torch.from_numpy(np.concatenate([rng.choice(order[:DOUBTFUL], doubtful, replace=False), sure]))
        seen = seen_at(torch.from_numpy(data.images[row : row + 1]), spots[None])
        found.append((told_at(logits, spots[None])[0].bfloat16(), seen[0].flatten(1), quads(data.masks[row])[spots]))
    return Dots(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _logits(coarse: Coarse, tile: Tile, data: Seen, row: int, share: float) -> Tensor:
    """A view's logits with that share of its tiles refined, the most doubtful: float32 [1, classes, 180, 240]."""
    grid = coarse.grid
    with autocast():
        cells, context = coarse.decode([maps[row : row + 1] for maps in data.maps])
    cells = cells.float()
    order = grid.means(1 - cells.softmax(dim=1).amax(dim=1))[0].argsort(descending=True)
    chosen = order[: round(share * grid.tiles)]
    if not len(chosen):
        return refined(cells, torch.zeros(()))
    pixels = cut(torch.from_numpy(data.images[row : row + 1]).permute(0, 3, 1, 2))[0, chosen]
    with autocast():
        made = tile(pixels.float().contiguous(memory_format=torch.channels_last), grid.windows(context)[0, chosen])
    change = made.new_zeros(grid.tiles, *made.shape[1:], dtype=torch.float32)
    change[chosen] = made.float()
    return refined(cells, grid.joined(change[None]))


def train_points(net: Points, data: Dots, weights: Tensor, file: Path, *, epochs: int, batch: int = 4096) -> float:
    """Minutes that it took."""
    torch.manual_seed(0)

    def loss(rows: Tensor) -> Tensor:
        logits = net(data.told[rows].float(), data.seen[rows].float())
        return pixel_loss(logits.transpose(1, 2), data.masks[rows].long(), weights)

    def batches(epoch: int) -> Iterator[Callable[[], Tensor]]:
        order = torch.from_numpy(np.random.default_rng(epoch).permutation(len(data.masks)))
        for start in range(0, len(order) // batch * batch, batch):
            yield partial(loss, order[start : start + batch])

    steps = len(data.masks) // batch
    return train(net, [{"params": list(net.parameters()), "lr": 3e-3}], batches, epochs=epochs, steps=steps, file=file)
