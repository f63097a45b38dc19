"""Make the package ucf-keyframes again: a very cheap scorer picks the few frames that the network sees.

    python -m models.recipes.ucf_keyframes [--phase PHASE] [--work DIR] [--cache DIR] [--package DIR]

Phases: train, export, calibrate, time, card; without one, all of them in this order. OFFRAMP_DATA names the data.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import package
from models.calibration.clip_walks import knobs_by_log_law
from models.calibration.temperature import fit_temperature
from models.export import GraphStage
from models.nets.clips import Assemble, PoolHead, ScanShares, See
from models.recipes.clip_recipe import SEED, Arrays, Trained, entry
from models.recipes.ucf import DEFAULT_AGREEMENT, MOMENTS, Fitting, UcfRecipe, fine_heads
from models.training import clips
from service.routing.early_exit import softmax
from service.routing.keyframes import picked

WORDS = """`scan` sees sixteen 40x32 thumbnails and gives each moment a share of what there is to know; the walk takes
the best moments until their shares reach what its price asks for (SCSampler, ICCV 2019, takes a fixed number). They
run as ragged rows of the backbone, `see`, each with a look of its own, and `assemble` pools them and answers."""
LOSES = """The scorer hardly ranks: on held-out clips its first frame has the true class at a mean log-probability of
-0.554, any frame at -0.569. Most frames of these clips tell the same. The default is dear because agreement falls
slowly: two disagreements among the calibration clips are one too many."""
GRID = (1.01, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
"""Sums of shares that are tried: every moment .. the best one."""


class KeyframesRecipe(UcfRecipe):
    """Scan, see, assemble."""

    def trained(self, data: Fitting) -> Trained:
        """See `ClipRecipe.trained`."""
        heads, features, thumbs = fine_heads(data), data.fine(), data.thumbs()
        gains = held_out_gains(data, heads, features)
        classes = len(data.clips.classes)
        scorers = [
            clips.train_scorer(thumbs[rows], features[rows], gains[rows], data.labels[rows], classes, seed=SEED)
            for rows, _ in data.parts()
        ]
        share = np.zeros((len(data.labels), MOMENTS), np.float32)
        for scorer, (_, rows) in zip(scorers, data.parts()[:-1], strict=False):
            share[rows] = torch.softmax(scorer(thumbs[rows]), dim=1).numpy()
        told = [told_by(data, heads, features, picked(share, np.full(len(share), knob, np.float32))) for knob in GRID]
        random = np.random.default_rng(SEED).random(share.shape).argsort(axis=1)
        ranked = np.take_along_axis(gains.numpy(), np.argsort(-share, axis=1), axis=1)
        facts = {
            "gain_by_rank": ranked.mean(axis=0),
            "gain_random": np.take_along_axis(gains.numpy(), random, axis=1).mean(axis=0),
        }
        stages = [ScanShares(scorers[-1]), See(data.cache.backbone), Assemble(heads[-1])]
        logits, counts = (np.stack(each) for each in zip(*told, strict=True))
        return Trained(stages, {"logits": logits, "counts": counts, **facts})

    def tables(self, told: Arrays, labels: NDArray[np.int64], macs: Mapping[str, int]) -> Arrays:
        """See `ClipRecipe.tables`."""
        temperature = fit_temperature(told["logits"].reshape(-1, told["logits"].shape[2]), np.tile(labels, len(GRID)))
        right = [softmax(each / temperature)[np.arange(len(labels)), labels].mean() for each in told["logits"]]
        gmacs = (told["counts"].mean(axis=1) * macs["see"] + macs["scan"] + macs["assemble"]) / 1e9
        knob_prices, knobs = knobs_by_log_law(GRID, gmacs, np.array(right))
        return {"temperature": np.array([temperature], np.float32), "knob_prices": knob_prices, "knobs": knobs}

    def entries(self, folder: Path, stages: Mapping[str, GraphStage]) -> list[dict[str, Any]]:
        """See `ClipRecipe.entries`."""
        return [
            entry(folder, stages["scan"], ["see"]),
            entry(folder, stages["see"], ["assemble"], rows=("features", "seen")),
            entry(folder, stages["assemble"], [], exit_name="answer"),
        ]


def held_out_gains(data: Fitting, heads: Sequence[PoolHead], features: Tensor) -> Tensor:
    """Log-probability of the true class at each moment, by heads that never saw the clip's group: float32 [n, 16]."""
    gains = torch.zeros(len(data.labels), MOMENTS)
    for head, (_, rows) in zip(heads, data.parts()[:-1], strict=False):
        gains[rows] = clips.frame_gains(head, features[rows], data.labels[rows])
    return gains


def told_by(
    data: Fitting, heads: Sequence[PoolHead], features: Tensor, picks: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits [n, classes] of the picked frames by heads that never saw the clip's group; how many were picked [n]."""
    head_of = {int(row): head for head, (_, rows) in zip(heads, data.parts()[:-1], strict=False) for row in rows}
    with torch.no_grad():
        told = [head_of[row].over(features[row, some][None]).numpy()[0] for row, some in enumerate(picks)]
    return np.stack(told), np.array([len(some) for some in picks], np.int64)


RECIPE = KeyframesRecipe(
    module="models.recipes.ucf_keyframes",
    title=package.Title(
        name="ucf-keyframes",
        version="1.0.0",
        modality="video",
        task="classification",
        family="key-frames",
        router="keyframes",
        description="Nine actions in short clips (UCF-101): a cheap scorer picks the frames that the network sees.",
        zeros=("seen",),
        default_agreement=DEFAULT_AGREEMENT,
    ),
    words=WORDS,
    loses=LOSES,
)

if __name__ == "__main__":
    RECIPE.main()
