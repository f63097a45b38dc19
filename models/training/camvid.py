"""Training of the refining segmentation net on features of its frozen trunk, computed once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data import camvid
from models.data.camvid import VOID
from models.nets.lite_features import LiteFeatures, pretrained
from models.nets.refine import Coarse, Tile, refined
from models.nets.refine_stages import cut
from models.training.dense import class_weights, pixel_loss, train, views
from models.training.precision import autocast
from service.media.pixels import fit

VIEWS = 2
CLASSES = VOID
Maps = list[Tensor]
_CHANNELS_LAST = torch.channels_last


@dataclass(frozen=True)
class Seen:
    """`VIEWS` views of the training frames: the trunk's `maps` at half size, `images` and `masks` as they were seen."""

    maps: Maps
    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]

    @property
    def frames(self) -> int:
        """Frames of the training split; view v of frame i is row v * frames + i."""
        return len(self.masks) // VIEWS


def half(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames as the first stage's glimpse shows them: uint8 [n, 180, 240, 3]."""
    return np.stack([fit(image, 180, 240) for image in images])


def planes(images: NDArray[np.uint8]) -> Tensor:
    """uint8 [n, h, w, 3] to float32 [n, 3, h, w], channels last in memory."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().contiguous(memory_format=_CHANNELS_LAST)


@torch.no_grad()
def features(net: Coarse, images: NDArray[np.uint8], batch: int = 8) -> Maps:
    """The trunk's maps of frames, bfloat16."""
    found = []
    for start in range(0, len(images), batch):
        with autocast():
            maps = net.maps(planes(half(images[start : start + batch])))
        found.append([each.to(torch.bfloat16) for each in maps])
    return [torch.cat(each).contiguous(memory_format=_CHANNELS_LAST) for each in zip(*found, strict=True)]


def seen(work: Path, seed: int) -> Seen:
    """The views, from `work` if they are there already."""
    drawn, file = work / "views.npz", work / "features.pt"
    if not file.exists():
        images, masks = views(camvid.load("train"), VIEWS, seed)
        np.savez(drawn, images=images, masks=masks)
        torch.save(features(new_coarse("carafe"), images), file)
    with np.load(drawn) as archive:
        images, masks = archive["images"], archive["masks"]
    return Seen(torch.load(file, weights_only=True), images, masks)


def new_coarse(way: str) -> Coarse:
    """Not trained yet, but for the trunk, which stays as it is."""
    net = Coarse(_frozen(16), CLASSES, way=way)
    net.to(memory_format=_CHANNELS_LAST)  # type: ignore[call-overload]
    return net


def new_tile() -> Tile:
    """Likewise."""
    net = Tile(_frozen(8), CLASSES)
    net.to(memory_format=_CHANNELS_LAST)  # type: ignore[call-overload]
    return net


def _frozen(deepest: int) -> LiteFeatures:
    return pretrained(deepest).requires_grad_(False)


def train_coarse(net: Coarse, data: Seen, file: Path, *, epochs: int, batch: int = 8, seed: int = 0) -> float:
    """Minutes that it took. The pixels learnt are every fourth of each fourth row."""
    torch.manual_seed(seed)
    weights = class_weights(data.masks[: data.frames], CLASSES)
    masks = torch.from_numpy(data.masks[:, 2::4, 2::4].copy())

    def loss(rows: Tensor) -> Tensor:
        return pixel_loss(net.decode([each[rows] for each in data.maps])[0], masks[rows].long(), weights)

    def batches(epoch: int) -> Iterator[Callable[[], Tensor]]:
        for rows in _shuffled(data, epoch, batch, seed):
            yield partial(loss, rows)

    learnt = [p for p in net.parameters() if p.requires_grad]
    steps = data.frames // batch
    return train(net, [{"params": learnt, "lr": 3e-3}], batches, epochs=epochs, steps=steps, file=file)


def _shuffled(data: Seen, epoch: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Row numbers of each batch: every frame once an epoch, its views in turn."""
    order = np.random.default_rng((seed, epoch)).permutation(data.frames)
    rows = (order + epoch) % VIEWS * data.frames + order
    for start in range(0, data.frames // batch * batch, batch):
        yield torch.from_numpy(rows[start : start + batch])


@dataclass(frozen=True)
class Tiles:
    """Tiles of the views with all that the tile net is told of them, and what it shall say."""

    maps: Maps
    pixels: NDArray[np.uint8]
    told: Tensor
    logits: Tensor
    masks: NDArray[np.uint8]


@torch.no_grad()
def tiles(coarse: Coarse, tile: Tile, data: Seen, *, each: int, seed: int = 0) -> Tiles:
    """`each` tiles of every view, half of them the most doubtful, the others drawn from the rest."""
    coarse.eval()
    rng, grid, found = np.random.default_rng(seed), coarse.grid, []
    for row in range(len(data.masks)):
        with autocast():
            cells, context = coarse.decode([maps[row : row + 1] for maps in data.maps])
        cells = cells.float()
        doubt = grid.means(1 - cells.softmax(dim=1).amax(dim=1))[0].numpy()
        order = np.argsort(-doubt)
        chosen = np.concatenate([order[: each // 2], rng.choice(order[each // 2 :], each - each // 2, replace=False)])
        rows = torch.from_numpy(chosen)
        pixels = cut(torch.from_numpy(data.images[row : row + 1]).permute(0, 3, 1, 2))[0, rows]
        with autocast():
            maps = tile.trunk(pixels.float().contiguous(memory_format=_CHANNELS_LAST))
        masks = cut(torch.from_numpy(data.masks[row : row + 1, None, 1::2, 1::2].copy()))[0, rows, 0]
        start = cut(refined(cells, torch.zeros(())))[0, rows]
        told = grid.windows(context)[0, rows]
        found.append([*(m.bfloat16() for m in maps), pixels, told.bfloat16(), start.bfloat16(), masks])
    *maps, pixels, told, logits, masks = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Tiles(list(maps), pixels.numpy(), told, logits, masks.numpy())


def train_tile(net: Tile, data: Tiles, weights: Tensor, file: Path, *, epochs: int, batch: int = 96) -> float:
    """Minutes that it took: the tile net learns to change the coarse net's logits, which stay as they are."""
    torch.manual_seed(0)
    pixels, masks = torch.from_numpy(data.pixels), torch.from_numpy(data.masks)

    def loss(rows: Tensor) -> Tensor:
        shown = pixels[rows].float().contiguous(memory_format=_CHANNELS_LAST)
        change = net.decode([maps[rows] for maps in data.maps], shown, data.told[rows])
        return pixel_loss(data.logits[rows].float() + change.float(), masks[rows].long(), weights)

    def batches(epoch: int) -> Iterator[Callable[[], Tensor]]:
        order = torch.from_numpy(np.random.default_rng(epoch).permutation(len(masks)))
        for start in range(0, len(masks) // batch * batch, batch):
            yield partial(loss, order[start : start + batch])

    learnt = [p for p in net.parameters() if p.requires_grad]
    steps = len(masks) // batch
    return train(net, [{"params": learnt, "lr": 3e-3}], batches, epochs=epochs, steps=steps, file=file)
