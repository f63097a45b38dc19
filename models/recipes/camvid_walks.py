"""What the stages of camvid-refine see of frames, what refining them mends, and walks of whole splits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.calibration.refining import Arrays, Graphs, Level, Refined, Sample, walked
from models.data import camvid
from models.data.camvid import ROUTER, VOID, Frames
from models.nets.refine import Grid
from models.nets.refine_points import HEIGHT, ROWS, WIDTH
from models.nets.refine_stages import cut
from models.training import camvid as training
from service.package.load import Package

NAME = "camvid-refine"
ZOO = Path(__file__).parents[1] / "zoo" / NAME
LEVELS = (
    Level("tile", "paste", "change"),
    Level("point", "place", "dots", told=("around", "seen"), places=None),
)
SOME = (1.0, 0.3, 0.0)
"""Of the tiles: points get their gain from frames with so many refined before."""


class FrameViews:
    """What the stages see of frames; a tile's glimpse of a frame of 480x360 is the frame's own pixels."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self._halves = training.half(frames.images)

    def __len__(self) -> int:
        return len(self.frames)

    def first(self, sample: int) -> Arrays:
        """See `Views`."""
        return {"image": self._halves[sample : sample + 1], "frame": self.frames.images[sample : sample + 1]}

    def parts(self, sample: int, places: NDArray[np.float32]) -> Arrays:
        """See `Views`."""
        height, width = camvid.HEIGHT, camvid.WIDTH
        corners = np.round(places * np.array([height, width, height, width])).astype(int)
        image = self.frames.images[sample]
        return {"pixels": np.stack([image[top:bottom, left:right] for top, left, bottom, right in corners])}


def splits() -> tuple[Frames, Frames]:
    """Frames for the router's tables, and frames to certify with: one drive, the first minutes and the later ones."""
    val = camvid.load("val")
    return val.cut(0, ROUTER), val.cut(ROUTER, len(val))


def graphs_in(folder: Path) -> Graphs:
    """The package's stages in a folder."""
    return Graphs(folder, "coarse", LEVELS)


def gains(graphs: Graphs, frames: Frames) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Doubt of each tile of a split, and the share of its frame's known pixels that refining it mends: [n * 90]."""
    views, doubts, gained = FrameViews(frames), [], []
    for row, mask in enumerate(frames.masks):
        sample = Sample(graphs, views, row)
        change = mended(sample.first, sample.after(np.arange(Grid().tiles)), mask)
        gained.append(cut(torch.from_numpy(change[None, None]))[0].sum(dim=(1, 2, 3)).numpy() / (mask != VOID).sum())
        doubts.append(sample.first["doubt"][0])
    return np.concatenate(doubts), np.concatenate(gained).astype(np.float64)


def point_gains(graphs: Graphs, frames: Frames) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The same of rows of points, after all tiles, after the most doubtful and after none: [n * 3 * ROWS]."""
    views, doubts, gained = FrameViews(frames), [], []
    for row, mask in enumerate(frames.masks):
        sample = Sample(graphs, views, row)
        order = np.argsort(-sample.first["doubt"][0], kind="stable")
        for tiles in (order[: round(share * len(order))] for share in SOME):
            before = sample.after(tiles)
            change = mended(before, sample.after(tiles, np.arange(ROWS)), mask)
            by_point = change.reshape(HEIGHT, 2, WIDTH, 2).sum(axis=(1, 3)).ravel()
            gained.append(by_point[before["spots"][0].astype(np.int64)].sum(axis=1) / (mask != VOID).sum())
            doubts.append(before["doubt_points"][0])
    return np.concatenate(doubts), np.concatenate(gained).astype(np.float64)


def mended(before: Arrays, after: Arrays, mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pixels that became right, less those that became wrong: float32 [360, 480]."""
    known = mask != VOID
    right = [((state["answer"][0, 0] == mask) & known).astype(np.float32) for state in (before, after)]
    return np.asarray(right[1] - right[0])


def walk(
    found: Package,
    frames: Frames,
    prices: NDArray[np.float64],
    also: Callable[[Sample, int], None] | None = None,
) -> Refined:
    """Frames at every price; the tallies are confusion tables. See `walked`."""

    def score(answer: NDArray[np.float32], row: int) -> float:
        known = frames.masks[row] != VOID
        return float((answer[0] == frames.masks[row])[known].mean())

    def tally(so_far: Any, answer: NDArray[np.float32], row: int) -> Any:
        table = camvid.confusion(answer[0], frames.masks[row])
        return table if so_far is None else so_far + table

    return walked(found, graphs_in(found.path), FrameViews(frames), prices, score, tally, also=also)
