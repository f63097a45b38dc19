"""Make the package ucf-agent again: an agent names the next moment to look at, and when to stop.

    python -m models.recipes.ucf_agent [--phase PHASE] [--work DIR] [--cache DIR] [--package DIR]

Phases: train, export, calibrate, time, card; without one, all of them in this order. OFFRAMP_DATA names the data.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models import package
from models.calibration.stops import stop_tables
from models.export import GraphStage
from models.nets.clip_agent import ScanMemory, Think
from models.nets.clips import See
from models.recipes.clip_recipe import SEED, Arrays, Trained, entry
from models.recipes.ucf import DEFAULT_AGREEMENT, FIRST, MOMENTS, Fitting, UcfRecipe, fine_heads
from models.training.clip_agent import train_agent, walked

WORDS = """`scan` remembers sixteen 40x32 thumbnails of the clip and names the first moment; then in a loop `see` is
the backbone at that moment, and `think` takes its features into pools and into a recurrent state, answers, names the
next of the sixteen moments, and tells how likely it is that looking on changes nothing for the better (`settled`), at
which the gain maps are read (AdaFrame, CVPR 2019). It learned where to look by imitation of a teacher who knows the
label and all frames: the frame that would raise the true class's probability most. It was not trained by rewards."""

LOSES = """It doesn't beat uniform sampling of as many frames, nor the fixed order of ucf-frames: which frame comes
first hardly matters in these clips, and what it has learned of when to stop is a guess from 396 clips. A row for
completeness, as others found (FrameExit, CVPR 2021)."""


class AgentRecipe(UcfRecipe):
    """Scan, then see and think in a loop."""

    def trained(self, data: Fitting) -> Trained:
        """See `ClipRecipe.trained`."""
        heads, features, thumbs, classes = fine_heads(data), data.fine(), data.thumbs(), len(data.clips.classes)
        head_of = torch.from_numpy(data.fold)
        minds = [
            train_agent(features[rows], thumbs[rows], data.labels[rows], heads[:-1], head_of[rows], classes, seed=SEED)
            for rows, _ in data.parts()
        ]
        n = len(data.labels)
        logits, settled = np.zeros((MOMENTS, n, classes), np.float32), np.zeros((MOMENTS, n), np.float32)
        where = np.zeros((MOMENTS, n), np.int64)
        for mind, head, (_, rows) in zip(minds, heads, data.parts()[:-1], strict=False):
            told = walked(mind, features[rows], thumbs[rows], head)
            logits[:, rows], settled[:, rows], where[:, rows] = (each.numpy() for each in told)
        stages = [ScanMemory(minds[-1]), See(data.cache.backbone), Think(minds[-1], heads[-1])]
        return Trained(stages, {"logits": logits, "settled": settled, "where": where})

    def tables(self, told: Arrays, labels: NDArray[np.int64], macs: Mapping[str, int]) -> Arrays:
        """See `ClipRecipe.tables`."""
        exit_macs = macs["scan"] + np.arange(1, MOMENTS + 1) * (macs["see"] + macs["think"])
        return stop_tables(told["logits"], labels, exit_macs, told["settled"].T)

    def entries(self, folder: Path, stages: Mapping[str, GraphStage]) -> list[dict[str, Any]]:
        """See `ClipRecipe.entries`."""
        return [
            entry(folder, stages["scan"], ["see"]),
            entry(folder, stages["see"], ["think"], at=FIRST),
            entry(folder, stages["think"], ["see"], exit_name="thought"),
        ]


RECIPE = AgentRecipe(
    module="models.recipes.ucf_agent",
    title=package.Title(
        name="ucf-agent",
        version="1.0.0",
        modality="video",
        task="classification",
        family="frame-agent",
        router="agent",
        description="Nine actions in short clips (UCF-101): an agent names the next moment to look at, and when to "
        "stop.",
        laps=MOMENTS,
        zeros=("best", "total", "count", "hidden", "visited"),
        default_agreement=DEFAULT_AGREEMENT,
    ),
    words=WORDS,
    loses=LOSES,
)

if __name__ == "__main__":
    RECIPE.main()
