"""Detection in two scales: proposals from the coarse segmentation net's cells, then a closer look at each.

Proposals are centres of things (CenterNet: Zhou et al., 2019): a heat map a class, peaks are things, the size is read
there. A proposal is looked at again in the frame itself, as the second stage of Faster R-CNN (Ren et al., NeurIPS 2015)
does for all of them; here only for those that the coarse scale is unsure of.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.nets.lite_features import CHANNELS, LiteFeatures
from models.nets.refine import Coarse

LABELS = ("car", "pedestrian", "bicyclist")
CLASSES = (8, 9, 10)
"""CamVid's numbers of the three."""
PROPOSALS = 16
TOLD = 48 + 11 + 3 + 2
"""What a closer look is told: its cell's features and class logits, its heats, its size."""
SIDE = 64
"""Pixels of a closer look."""
_WIDER = 1.5
_GRID = 2048
_LEAST = 32 / 360
"""The least side of a look, as a share of the frame's height."""


class Propose(nn.Module):
    """Heads on the cells of a frozen coarse net."""

    def __init__(self, coarse: Coarse) -> None:
        super().__init__()
        self.coarse = coarse
        self.block = nn.Sequential(nn.Conv2d(59, 48, 3, padding=1, bias=False), nn.BatchNorm2d(48), nn.ReLU())
        self.heat = nn.Conv2d(48, len(LABELS), 1)
        self.shape = nn.Conv2d(48, 4, 1)
        # Things are rare: a head that begins at 1 % learns from them, not from the road.
        nn.init.constant_(self.heat.bias, -4.6)  # type: ignore[arg-type]

    def heads(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Cells [b, 59, 45, 60] (features and class logits) to heat logits [b, 3, 45, 60] and the shape [b, 4, 45, 60]:
        the centre's offset, down and right, within its cell, then the logs of height and width in cells.
        """
        x = self.block(cells)
        return self.heat(x), self.shape(x)

    def cells(self, maps: list[Tensor]) -> Tensor:
        """Features and class logits, [b, 59, 45, 60]."""
        x = self.coarse.cells(maps)
        return torch.cat([x, self.coarse.logits(x)], dim=1)


def peaks(heat: Tensor, shape: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """The `PROPOSALS` highest peaks of heat logits, as answers and as what a closer look is told.

    Returns:
        float32 [b, 16, 6]: label, heat logit, top, left, bottom, right in shares of the frame; and [b, 16, TOLD].
    """
    high, wide = heat.shape[2:]
    highest = F.max_pool2d(heat, 3, 1, padding=1)
    alone = torch.where(heat >= highest, heat, torch.full_like(heat, -20.0))
    best, place = torch.flatten(alone, 1).topk(PROPOSALS, dim=1)
    label = torch.div(place, high * wide, rounding_mode="floor")
    cell = place - label * (high * wide)
    down = torch.div(cell, wide, rounding_mode="floor")
    right = cell - down * wide
    told = told_at(heat, shape, cells, cell)
    offset = torch.flatten(shape[:, :2], 2).gather(2, cell[:, None].expand(-1, 2, -1))
    middle = torch.stack([(down + offset[:, 0]) / high, (right + offset[:, 1]) / wide], dim=-1)
    size = told[..., -2:].clamp(-3, 4).exp()
    size = torch.stack([size[..., 0] / high, size[..., 1] / wide], dim=-1)
    edges = torch.cat([middle - size / 2, middle + size / 2], dim=-1).clamp(0, 1)
    return torch.cat([label[..., None].float(), best[..., None], edges], dim=-1), told


def told_at(heat: Tensor, shape: Tensor, cells: Tensor, place: Tensor) -> Tensor:
    """What is told of cells [b, k] (row by row): their features and class logits, heats, and logs of the size, [b, k,
    TOLD].
    """
    seen = torch.cat([torch.flatten(one, 2) for one in (cells, heat, shape[:, 2:])], dim=1)
    return seen.gather(2, place[:, None].expand(-1, TOLD, -1)).permute(0, 2, 1)


def looks(edges: Tensor) -> Tensor:
    """Where proposals [.., 4] are looked at again: wider, not below a least size, within the frame."""
    middle, size = (edges[..., :2] + edges[..., 2:]) / 2, edges[..., 2:] - edges[..., :2]
    wider = [(size[..., axis] * _WIDER).clamp(min=least) for axis, least in enumerate((_LEAST, 0.75 * _LEAST))]
    half = torch.stack(wider, dim=-1) / 2
    edges = torch.cat([middle - half, middle + half], dim=-1).clamp(0, 1)
    # To a grid: else the last bits of a place, which differ between libraries, would change levels of the pixels seen.
    return (edges * _GRID).round() / _GRID


class Look(nn.Module):
    """A closer look: pixels [r, 3, 64, 64] and what is known to logits of none and the three classes, and by how much
    the box moves: [r, 8].
    """

    def __init__(self, trunk: LiteFeatures) -> None:
        super().__init__()
        self.trunk = trunk
        self.deep, self.middle = nn.Conv2d(CHANNELS[16], 48, 1), nn.Conv2d(CHANNELS[8], 24, 1)
        self.joined = nn.Linear(48 * 16 + 24 * 16 + TOLD, 96)
        self.found = nn.Linear(96, 8)

    def decode(self, maps: list[Tensor], told: Tensor) -> Tensor:
        """Frozen features [r, 40, 8, 8] and [r, 112, 4, 4] with what is told [r, TOLD] to [r, 8]."""
        middle, deep = maps[-2:]
        seen = [F.relu(self.deep(deep)), F.relu(self.middle(F.avg_pool2d(middle, 2)))]
        x = torch.cat([*(torch.flatten(one, 1) for one in seen), told], dim=1)
        made: Tensor = self.found(F.relu(self.joined(x)))
        return made

    def forward(self, pixels: Tensor, told: Tensor) -> Tensor:
        """See the class; pixels 0..255."""
        return self.decode(self.trunk(pixels), told)


def moved(edges: Tensor, change: Tensor) -> Tensor:
    """Boxes [.., 4] moved by changes [.., 4]: centre in shares of the size, then logs of the factors of the size."""
    middle, size = (edges[..., :2] + edges[..., 2:]) / 2, edges[..., 2:] - edges[..., :2]
    middle, size = middle + change[..., :2] * size, size * change[..., 2:].clamp(-2, 2).exp()
    return torch.cat([middle - size / 2, middle + size / 2], dim=-1).clamp(0, 1)


def changes(edges: Tensor, truth: Tensor) -> Tensor:
    """The changes that move boxes [k, 4] to others [k, 4]."""
    size, goal = edges[:, 2:] - edges[:, :2], truth[:, 2:] - truth[:, :2]
    shift = (truth[:, :2] + truth[:, 2:] - edges[:, :2] - edges[:, 2:]) / 2
    return torch.cat([shift / size.clamp(min=1e-3), (goal / size.clamp(min=1e-3)).log().clamp(-2, 2)], dim=1)
