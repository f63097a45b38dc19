"""Training of the refining detector: heads on frozen cells, then closer looks on frozen features of crops."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.data.boxes import Boxes, boxes
from models.nets.detect import CLASSES, SIDE, Look, Propose, changes, looks, peaks, told_at
from models.training.camvid import Seen, planes
from models.training.dense import train
from models.training.precision import autocast
from service.task.detection import overlap

LEAST_AREA, LEAST_HEIGHT = 200, 16
"""Pixels of the smallest things that count."""
HIGH, WIDE = 45, 60
_NEAR, _FAR = 0.5, 0.4
"""Overlaps from which on a proposal is the thing, and below which it is none."""


def truths(masks: NDArray[np.uint8]) -> list[Boxes]:
    """The things in each frame."""
    return [boxes(mask, CLASSES, least_area=LEAST_AREA, least_height=LEAST_HEIGHT) for mask in masks]


@dataclass(frozen=True)
class Targets:
    """What the heads shall say: heat [n, 3, 45, 60] in 0..1, shape [n, 4, 45, 60]; where that counts [n, 45, 60]."""

    heat: Tensor
    shape: Tensor
    centre: Tensor

    @classmethod
    def of(cls, things: Sequence[Boxes]) -> "Targets":
        """A bump around each thing's centre, 1 there; the shape counts at the centre's cell."""
        heat = np.zeros((len(things), 3, HIGH, WIDE), np.float32)
        shape, centre = np.zeros((len(things), 4, HIGH, WIDE), np.float32), np.zeros((len(things), HIGH, WIDE), bool)
        down, right = np.mgrid[:HIGH, :WIDE] + 0.5
        for row, found in enumerate(things):
            for label, _, top, left, bottom, end in found:
                y, x = (top + bottom) / 2 * HIGH, (left + end) / 2 * WIDE
                high, wide = (bottom - top) * HIGH, (end - left) * WIDE
                spread = 2 * np.maximum(np.array([high, wide]) / 6, 0.6) ** 2
                bump = np.exp(-((down - y) ** 2) / spread[0] - (right - x) ** 2 / spread[1])
                at = min(int(y), HIGH - 1), min(int(x), WIDE - 1)
                bump[at] = 1.0
                heat[row, int(label)] = np.maximum(heat[row, int(label)], bump)
                shape[row, :, at[0], at[1]] = y - at[0], x - at[1], np.log(high), np.log(wide)
                centre[row, at[0], at[1]] = True
        return cls(torch.from_numpy(heat), torch.from_numpy(shape), torch.from_numpy(centre))


def heads_loss(heat: Tensor, shape: Tensor, wanted: Targets, rows: Tensor) -> Tensor:
    """CenterNet's: focal at the heats, L1 at the centres' shapes."""
    goal, count = wanted.heat[rows], wanted.centre[rows].sum().clamp(min=1)
    sure = heat.float().sigmoid().clamp(1e-4, 1 - 1e-4)
    hit = -((1 - sure) ** 2 * sure.log())[goal == 1].sum()
    miss = -((1 - goal) ** 4 * sure**2 * (1 - sure).log())[goal < 1].sum()
    at = wanted.centre[rows][:, None].expand(-1, 4, -1, -1)
    off = F.l1_loss(shape.float()[at], wanted.shape[rows][at], reduction="sum")
    total: Tensor = (hit + miss + off) / count
    return total


@torch.no_grad()
def known_cells(net: Propose, data: Seen) -> Tensor:
    """The frozen coarse net's cells of all views, bfloat16 [n, 59, 45, 60]."""
    net.coarse.eval()
    found = []
    for start in range(0, len(data.masks), 8):
        with autocast():
            found.append(net.cells([maps[start : start + 8] for maps in data.maps]).bfloat16())
    return torch.cat(found).contiguous(memory_format=torch.channels_last)


def train_heads(net: Propose, cells: Tensor, wanted: Targets, file: Path, *, epochs: int, batch: int = 8) -> float:
    """Minutes that it took; one epoch sees every view once."""
    torch.manual_seed(0)
    heads = [*net.block.parameters(), *net.heat.parameters(), *net.shape.parameters()]

    def loss(rows: Tensor) -> Tensor:
        return heads_loss(*net.heads(cells[rows]), wanted, rows)

    def batches(epoch: int) -> Iterator[Callable[[], Tensor]]:
        net.coarse.eval()
        order = torch.from_numpy(np.random.default_rng(epoch).permutation(len(cells)))
        for start in range(0, len(cells) // batch * batch, batch):
            yield partial(loss, order[start : start + batch])

    return train(net, [{"params": heads, "lr": 2e-3}], batches, epochs=epochs, steps=len(cells) // batch, file=file)


@dataclass(frozen=True)
class Looks:
    """Closer looks: frozen features, what is told, the class (0 none) and the change of the box wanted."""

    maps: list[Tensor]
    told: Tensor
    label: Tensor
    change: Tensor


def crops(image: NDArray[np.uint8], places: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Boxes of a frame scaled to 64 x 64, as a glimpse would be: uint8 [k, 64, 64, 3]."""
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    edges = [(left * width, top * height, right * width, bottom * height) for top, left, bottom, right in places]
    shown = [picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box) for box in edges]
    return np.stack([np.asarray(one) for one in shown])


@torch.no_grad()
def looked(net: Propose, look: Look, cells: Tensor, data: Seen, things: Sequence[Boxes]) -> Looks:
    """What every proposal in the views looks like, and what it is."""
    found, rng = [], np.random.default_rng(0)
    net.eval()
    for row, truth in enumerate(things):
        seen = cells[row : row + 1].float()
        heat, shape = net.heads(seen)
        proposals, told = peaks(heat, shape, seen)
        # Frames that the heads have learnt give proposals better than any to come, so things are shown shaken as well.
        shaken = torch.from_numpy(_shaken(truth[:, 2:], rng))
        middle = (shaken[:, :2] + shaken[:, 2:]) / 2
        cell = (middle[:, 0] * HIGH).long() * WIDE + (middle[:, 1] * WIDE).long()
        told = torch.cat([told[0], told_at(heat, shape, seen, cell[None])[0]])
        edges = torch.cat([proposals[0, :, 2:], shaken])
        shown = planes(crops(data.images[row], looks(edges).numpy()))
        with autocast():
            maps = [one.bfloat16() for one in look.trunk(shown)[-2:]]
        label, change = wanted(edges, truth)
        found.append([*maps, told.bfloat16(), label, change])
    *maps, told, label, change = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Looks(list(maps), told, label, change)


def _shaken(edges: NDArray[np.float32], rng: np.random.Generator, times: int = 3) -> NDArray[np.float32]:
    """Boxes [k, 4] moved by up to a third of their size and scaled by up to a half, `times` each: [times * k, 4]."""
    edges = np.tile(edges, (times, 1))
    size, middle = edges[:, 2:] - edges[:, :2], (edges[:, :2] + edges[:, 2:]) / 2
    middle = middle + rng.uniform(-0.33, 0.33, middle.shape) * size
    size = size * np.exp(rng.uniform(-0.4, 0.4, size.shape))
    return np.concatenate([middle - size / 2, middle + size / 2], axis=1).clip(0, 0.999).astype(np.float32)


def wanted(edges: Tensor, truth: Boxes) -> tuple[Tensor, Tensor]:
    """The class of each box [k, 4] (0 none, -1 neither) and the change that moves it onto its thing [k, 4]."""
    label, change = torch.zeros(len(edges), dtype=torch.int64), torch.zeros(len(edges), 4)
    if len(truth):
        close = overlap(edges.numpy(), truth[:, 2:])
        best = close.argmax(axis=1)
        highest = torch.from_numpy(close.max(axis=1))
        label = torch.from_numpy(truth[best, 0].astype(np.int64)) + 1
        label = torch.where(highest < _FAR, 0, torch.where(highest < _NEAR, -1, label))
        change = changes(edges, torch.from_numpy(truth[best, 2:]))
    return label, change


def train_look(net: Look, data: Looks, file: Path, *, epochs: int, batch: int = 256) -> float:
    """Minutes that it took."""
    torch.manual_seed(0)

    def loss(rows: Tensor) -> Tensor:
        made = net.decode([maps[rows] for maps in data.maps], data.told[rows]).float()
        label, things = data.label[rows], data.label[rows] > 0
        what = F.cross_entropy(made[:, :4], label, ignore_index=-1)
        where = F.smooth_l1_loss(made[things, 4:], data.change[rows][things], beta=0.1, reduction="sum")
        return what + where / (4 * things.sum().clamp(min=1))

    def batches(epoch: int) -> Iterator[Callable[[], Tensor]]:
        order = torch.from_numpy(np.random.default_rng(epoch).permutation(len(data.label)))
        for start in range(0, len(order) // batch * batch, batch):
            yield partial(loss, order[start : start + batch])

    learnt = [p for p in net.parameters() if p.requires_grad]
    steps = len(data.label) // batch
    return train(net, [{"params": learnt, "lr": 1e-3}], batches, epochs=epochs, steps=steps, file=file)
