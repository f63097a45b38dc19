"""A segmentation network in two scales: all pixels coarsely, then tiles at full resolution where that pays.

Deep layer cascade (Li et al., CVPR 2017) and PointRend (Kirillov et al., CVPR 2020) refine only what the coarse answer
is unsure of; SBNet (Ren et al., CVPR 2018) does so by tiles, which is what plain convolutions can gather. The coarse
net reads the frame at half size; a tile of 40 x 48 pixels of the frame itself is read together with what the coarse net
knows there and one cell around it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.nets.carafe import upsampling
from models.nets.lite_features import CHANNELS, LiteFeatures

CELL = 8
"""Pixels of the frame along a side of a cell: the coarse net's finest features, stride 4 of half the size."""


@dataclass(frozen=True)
class Grid:
    """How a frame is cut: sizes in cells of 8 x 8 pixels; of `halo` cells around each tile it is told as well."""

    height: int = 45
    width: int = 60
    tile_height: int = 5
    tile_width: int = 6
    halo: int = 1

    @property
    def rows(self) -> int:
        """Tiles from top to bottom."""
        return self.height // self.tile_height

    @property
    def columns(self) -> int:
        """Tiles from left to right."""
        return self.width // self.tile_width

    @property
    def tiles(self) -> int:
        """Tiles of a frame, numbered row by row."""
        return self.rows * self.columns

    def windows(self, cells: Tensor) -> Tensor:
        """Maps [b, c, height, width] to what each tile sees, [b, tiles, c, tile + 2 halo, ..]; zeros outside."""
        padded = F.pad(cells, [self.halo] * 4)
        high, wide = self.tile_height + 2 * self.halo, self.tile_width + 2 * self.halo
        bands = [padded[:, :, top : top + high] for top in range(0, self.height, self.tile_height)]
        band = torch.stack(bands, dim=1)
        parts = [band[..., left : left + wide] for left in range(0, self.width, self.tile_width)]
        return torch.flatten(torch.stack(parts, dim=2), 1, 2)

    def means(self, values: Tensor) -> Tensor:
        """The mean over each tile of values with two to a cell along each side, [b, 90, 120]: [b, tiles]."""
        return F.avg_pool2d(values[:, None], (2 * self.tile_height, 2 * self.tile_width)).flatten(1)

    def boxes(self) -> Tensor:
        """Where each tile is, [tiles, 4]: top, left, bottom, right as shares of the frame."""
        top, left = torch.meshgrid(torch.arange(self.rows), torch.arange(self.columns), indexing="ij")
        edges = [top / self.rows, left / self.columns, (top + 1) / self.rows, (left + 1) / self.columns]
        return torch.stack(edges, dim=-1).view(self.tiles, 4)

    def joined(self, tiles: Tensor) -> Tensor:
        """Tiles [b, tiles, c, h, w] put together: [b, c, rows * h, columns * w]."""
        grid = tiles.unflatten(1, (self.rows, self.columns))
        return torch.flatten(torch.flatten(grid.permute(0, 3, 1, 4, 2, 5), 4, 5), 2, 3)


def _block(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


class Coarse(nn.Module):
    """The frame at half size to logits of the classes at a quarter: float32 [b, classes, 90, 120].

    `way` is how maps are made finer (`carafe.WAYS`); everything else is the same for all.
    """

    def __init__(self, trunk: LiteFeatures, classes: int, *, way: str = "carafe", context: int = 32) -> None:
        super().__init__()
        self.trunk, self.grid = trunk, Grid()
        self.deep = nn.Sequential(nn.Conv2d(CHANNELS[16], 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        self.whole = nn.Sequential(nn.Linear(CHANNELS[16], 64), nn.ReLU())
        self.wide = _block(64, 64)
        self.up16 = upsampling(way, 64, 64, 2)
        self.side8 = nn.Conv2d(CHANNELS[8], 64, 1)
        self.block8 = _block(64, 48)
        self.up8 = upsampling(way, 48, 48, 2)
        self.side4 = nn.Conv2d(CHANNELS[4], 48, 1)
        self.block4 = _block(48, 48)
        self.logits = nn.Conv2d(48, classes, 1)
        self.up4 = upsampling(way, classes, 48, 2)
        self.context = nn.Conv2d(48 + classes, context, 1)

    def maps(self, image: Tensor) -> list[Tensor]:
        """Frozen features of frames float32 [b, 3, 180, 240]; grey is added below, for sides divisible by 16."""
        found: list[Tensor] = self.trunk(F.pad(image, (0, 0, 0, 12), value=127.0))
        return found

    def cells(self, maps: list[Tensor]) -> Tensor:
        """What each cell holds, before classes: [b, 48, 45, 60]."""
        fine, middle, deep = maps
        x = self.deep(deep) + self.whole(deep.mean(dim=(2, 3)))[:, :, None, None]
        x = self.wide(x)
        x = self.block8(self.up16(x, x) + self.side8(middle))
        made: Tensor = self.block4(F.relu(self.up8(x, x) + self.side4(fine)))
        return made[:, :, : self.grid.height]

    def decode(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits [b, classes, 90, 120], and what the tiles are told: [b, context, 45, 60]."""
        x = self.cells(maps)
        cells = self.logits(x)
        return self.up4(cells, x), self.context(torch.cat([x, cells], dim=1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """See `decode`; image float32 [b, 3, 180, 240], 0..255."""
        return self.decode(self.maps(image))


class Tile(nn.Module):
    """Tiles of the frame itself, and what is known there, to what the logits change by at half size.

    The trunk sees nothing beyond the tile's edges; what lies there is known from the coarse net's cells around it.
    """

    def __init__(self, trunk: LiteFeatures, classes: int, *, context: int = 32) -> None:
        super().__init__()
        self.trunk = trunk
        self.side8 = nn.Conv2d(CHANNELS[8], 48, 1)
        self.told = nn.Conv2d(context, 48, 3)
        self.block8 = _block(48, 32)
        self.up8 = upsampling("carafe", 32, 32, 2)
        self.side4 = nn.Conv2d(CHANNELS[4], 32, 1)
        self.block4 = _block(32, 24)
        self.up4 = upsampling("carafe", 24, 24, 2)
        self.edges = SmallStem(24)
        self.block2 = _block(24, 24)
        self.change = nn.Conv2d(24, classes, 1)
        nn.init.zeros_(self.change.weight)
        assert self.change.bias is not None
        nn.init.zeros_(self.change.bias)

    def decode(self, maps: list[Tensor], pixels: Tensor, told: Tensor) -> Tensor:
        """Frozen features of the tiles, pixels float32 [r, 3, 40, 48] and cells [r, context, 7, 8] to float32
        [r, classes, 20, 24].
        """
        fine, middle = maps
        x = self.block8(F.relu(self.side8(middle) + self.told(told)))
        x = self.block4(F.relu(self.up8(x, x) + self.side4(fine)))
        x = self.block2(F.relu(self.up4(x, x) + self.edges(pixels)))
        made: Tensor = self.change(x)
        return made

    def forward(self, pixels: Tensor, told: Tensor) -> Tensor:
        """See `decode`; pixels 0..255."""
        return self.decode(self.trunk(pixels), pixels, told)


class SmallStem(nn.Module):
    """Edges at half size, for the outlines: [r, 3, h, w], 0..255, to [r, channels, h/2, w/2]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 4, stride=2, padding=1)
        self.mix = nn.Conv2d(16, channels, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        made: Tensor = self.mix(F.relu(self.conv((pixels - 127.0) / 128.0)))
        return made


def refined(coarse: Tensor, change: Tensor) -> Tensor:
    """Coarse logits [b, classes, 90, 120] and what they change by at half size: [b, classes, 180, 240]."""
    return F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False) + change


def answered(logits: Tensor, factor: int, temperature: float) -> Tensor:
    """Logits [b, classes, h, w] to each pixel's class number and its probability: [b, 2, h * factor, w * factor]."""
    fine = F.interpolate(logits / temperature, scale_factor=factor, mode="bilinear", align_corners=False)
    best, place = fine.amax(dim=1, keepdim=True), fine.argmax(dim=1)
    # The softmax's largest share alone: ONNX Runtime would turn the whole map around for a softmax over channels.
    probability = 1 / (fine - best).exp().sum(dim=1)
    return torch.stack([place.to(fine.dtype), probability], dim=1)
