"""The clips of wagon-monitor: splits inside class and place, frozen features, static baselines, what decoding takes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.calibration.clip_views import served
from models.calibration.traverse import Traversal
from models.data import wagon4
from models.data.clips import Clips
from models.data.wagon4 import MOMENTS
from models.findings import default_place
from models.nets import lite0
from models.nets.clips import THUMB, WIDE
from models.nets.kept import SpreadHead
from models.nets.lite0 import Lite0
from models.recipes.ucf_uniform import evenly, served_features
from service.media.video import VideoSource
from service.package.glimpses import FrameGlimpse
from service.package.load import Package, load
from service.routing.moments import moments

FOLDS = 5
COUNTS = (1, 2, 4, 8, 16, 32)
_TENTH, _CALIBRATION = 10, (1, 4, 8)
"""Of ten clips in the order of class and place, those with these numbers are for calibration."""
Parts = list[tuple[NDArray[np.int64], NDArray[np.int64]]]


def calibration_rows(train: Clips) -> NDArray[np.int64]:
    """Places of the calibration clips in the train part: of every class and place its share."""
    return np.sort(_ordered(train)[_drawn(train)])


def _ordered(train: Clips) -> NDArray[np.int64]:
    return np.argsort(train.scenes, kind="stable")


def _drawn(train: Clips) -> NDArray[np.bool_]:
    return np.isin(np.arange(len(train)) % _TENTH, _CALIBRATION)


@dataclass(frozen=True)
class Fitting:
    """The clips that everything is fitted on; what frozen networks made of them stands in `cache`."""

    cache: Path

    @cached_property
    def clips(self) -> Clips:
        """All clips of the train part."""
        return wagon4.load("train")

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Places of the fitting clips in the train part, in the order of class and place."""
        return _ordered(self.clips)[~_drawn(self.clips)]

    @cached_property
    def labels(self) -> Tensor:
        """int64 [n]."""
        return torch.from_numpy(self.clips.labels[self.rows])

    @property
    def classes(self) -> int:
        """How many."""
        return len(self.clips.classes)

    @cached_property
    def backbone(self) -> Lite0:
        """Its weights rounded to what is stored."""
        net = lite0.pretrained(WIDE)
        lite0.halved(net)
        return net

    def features(self) -> Tensor:
        """Of the backbone, float32 [n, 32, 1280]."""
        file = self.cache / "train_wide.npy"
        if not file.exists():
            np.save(file, self._features())
        return torch.from_numpy(np.load(file)[self.rows].astype(np.float32))

    def thumbs(self) -> Tensor:
        """uint8 [n, 32, 32, 40, 3]."""
        return torch.from_numpy(np.asarray(self._frames(THUMB)[self.rows]))

    def parts(self) -> Parts:
        """For each fold, then for all: rows to train on, and rows held out of that (none for all)."""
        every = np.arange(len(self.rows))
        halves = [(every[every % FOLDS != fold], every[every % FOLDS == fold]) for fold in range(FOLDS)]
        return [*halves, (every, every[:0])]

    def places(self) -> Parts:
        """For each place: rows elsewhere to train on, and those of the place."""
        groups = self.clips.groups[self.rows]
        return [(np.flatnonzero(groups != place), np.flatnonzero(groups == place)) for place in np.unique(groups)]

    def _frames(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        spec = FrameGlimpse(glimpse="frame", height=size[0], width=size[1])
        return served(spec, self.cache, wagon4.SET, "train")

    def _features(self) -> NDArray[np.float16]:
        clips = self._frames(WIDE)
        made = np.zeros((len(clips), MOMENTS, self.backbone.features), np.float16)
        # bf16 is precise enough to train on; what is certified runs in float32.
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            for row, clip in enumerate(clips):
                made[row] = self.backbone(torch.from_numpy(np.array(clip))).float().numpy()
        return made


def baselines(folder: Path, cache: Path, head: SpreadHead) -> list[dict[str, Any]]:
    """Every clip the same: 1 to 32 evenly spread frames through the same backbone and head, on devtest."""
    labels = torch.from_numpy(wagon4.load("devtest").labels)
    features = torch.from_numpy(served_features(folder / "see.onnx", cache, wagon4.SET, WIDE))
    macs = {stage.name: stage.macs_per_row for stage in load(folder).manifest.stages}["see"]
    found = []
    for count in COUNTS:
        right = (head.over(features[:, evenly(count, MOMENTS)]).argmax(dim=1) == labels).int().tolist()
        found.append({"name": f"uniform, {count} frame{'s' * (count > 1)}", "macs": macs * count, "right": right})
    return found


def decode_seconds(package: Package, walks: Path, order: Sequence[int]) -> dict[str, float]:
    """Mean processor seconds that devtest's clips take to decode, by what is looked at: the full walk, the walk at the
    default price, and one frame."""
    with np.load(walks) as saved:
        traversal = Traversal(**saved)
    videos, graph = wagon4.load("devtest").videos, package.graph
    ran = traversal.routes[traversal.route].astype(bool)
    shares = moments(MOMENTS)[list(order)]
    sizes = {
        place: next(iter(package.manifest.stages[graph.stage_of[place]].glimpses.values()), None)
        for place in range(len(graph.stage_of))
    }

    def taken(video: bytes, places: NDArray[np.int64]) -> float:
        start = time.thread_time()
        source = VideoSource.open(video, content_type="video/mp4")
        for place in places.tolist():
            spec = sizes[place]
            if spec is not None:
                source.look(spec, shares[graph.lap_of[place] - 1][None])
        return time.thread_time() - start

    ways = {"full": ran[0], "default": ran[default_place(package)]}
    told = {
        name: float(np.mean([taken(video, np.flatnonzero(way)) for video, way in zip(videos, each, strict=True)]))
        for name, each in ways.items()
    }
    see = np.array([graph.kinds.index("see")])
    return told | {"one frame": float(np.mean([taken(video, see) for video in videos]))}
