"""Make the package wagon-monitor again: fixed cameras, of whose 32 frames only those are seen that bring something new.

    python -m models.recipes.wagon_monitor [--phase PHASE] [--work DIR] [--cache DIR] [--package DIR]

Phases: train, export, calibrate, time, card; without one, all of them in this order. OFFRAMP_DATA names the data.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import package
from models.calibration.clip_walks import Skips, moved
from models.data import wagon4
from models.data.wagon4 import MOMENTS
from models.export import GraphStage
from models.nets import peek
from models.nets.clips import See
from models.nets.kept import PeekKept, PoolKept, SpreadHead
from models.nets.peek import novelty
from models.recipes import wagon_words
from models.recipes.clip_recipe import SEED, Arrays, ClipRecipe, Trained, entry, made, walked
from models.recipes.wagon import Fitting, baselines, calibration_rows, decode_seconds
from models.training.kept import along, by_moment, distances, skipping, train_spread_head
from service.package.load import load
from service.routing.moments import coarse_to_fine

ORDER = coarse_to_fine(MOMENTS)
FIRST = (ORDER[0] + 0.5) / MOMENTS
QUANTILES = (0.3, 0.5, 0.65, 0.75, 0.8, 0.85, 0.9, 0.93, 0.96)
"""Of the distances between frames of a clip: settings of the novelty that are tried for each price."""
SHOWN = (0.5, 0.8, 0.9, 0.95)
"""Of these, the walks that heads learn from."""
STEP = 0.01
"""Between prices below 0, per GMAC. Only their order matters: reading on is never worth less than 0."""
Heads = Sequence[SpreadHead]


class WagonRecipe(ClipRecipe[Fitting]):
    """Peek, see, pool."""

    clips = wagon4.SET
    features = "build/wagon4"
    origin = wagon_words.ORIGIN

    def fitting(self, cache: Path) -> Fitting:
        """See `ClipRecipe.fitting`."""
        return Fitting(cache)

    def fitted_labels(self, data: Fitting) -> NDArray[np.int64]:
        """See `ClipRecipe.fitted_labels`."""
        labels: NDArray[np.int64] = data.labels.numpy()
        return labels

    def calibration_rows(self) -> NDArray[np.int64]:
        """See `ClipRecipe.calibration_rows`."""
        return calibration_rows(wagon4.load("train"))

    def trained(self, data: Fitting) -> Trained:
        """See `ClipRecipe.trained`."""
        features, apart = data.features(), distances(data.thumbs())
        heads = fitted_heads(data, features, apart, data.parts())
        everything = np.ones((MOMENTS, len(data.labels)), bool)
        full = held_out(data, heads, features, everything, ORDER)
        nearest = torch.stack([apart[:, ORDER[lap], ORDER[:lap]].amin(dim=1) for lap in range(1, MOMENTS)])
        steepness, shift = peek.fitted(nearest.flatten(), torch.from_numpy(moved(full)).flatten())
        new = novelty(apart, steepness, shift)
        grid = np.array([0.0, *novelty(_quantiles(apart, QUANTILES), steepness, shift).tolist()], np.float32)
        took = np.stack([skipping(new, ORDER, float(knob)) for knob in grid])
        logits = np.stack([held_out(data, heads, features, each, ORDER) for each in took])
        stages = [PeekKept(steepness, shift), See(data.backbone, "wide"), PoolKept(heads[-1])]
        orders = compared(data, heads, features, apart)
        return Trained(stages, {"grid": grid, "took": took, "logits": logits} | orders)

    def tables(self, told: Arrays, labels: NDArray[np.int64], macs: Mapping[str, int]) -> Arrays:
        """See `ClipRecipe.tables`."""
        return gently(Skips(told["grid"], told["took"], told["logits"]).tables(labels, macs), told["grid"])

    def entries(self, folder: Path, stages: Mapping[str, GraphStage]) -> list[dict[str, Any]]:
        """See `ClipRecipe.entries`."""
        return [
            entry(folder, stages["peek"], ["see", "peek"], at=FIRST),
            entry(folder, stages["see"], ["pool"], at=FIRST),
            entry(folder, stages["pool"], ["peek"], exit_name="after"),
        ]

    def calibrate(self, work: Path, cache: Path, folder: Path) -> None:
        """See `ClipRecipe.calibrate`; devtest is walked once more without any exit, to tell what skips alone do."""
        super().calibrate(work, cache, folder)
        found = load(folder)
        tables = dict(found.tables)
        endless = replace(found, tables=tables | {"gain": np.ones_like(tables["gain"])})
        alone = walked(endless, self.clips, "devtest", None, tables["knob_prices"], cache)
        np.savez(work / "alone.npz", allow_pickle=False, **asdict(alone))

    def time(self, work: Path, cache: Path, folder: Path) -> None:
        """See `ClipRecipe.time`; and what decoding takes."""
        super().time(work, cache, folder)
        (work / "decode.json").write_text(json.dumps(decode_seconds(load(folder), work / "devtest.npz", ORDER)))

    def baselines(self, work: Path, cache: Path, folder: Path) -> list[dict[str, Any]]:
        """See `ClipRecipe.baselines`."""
        [pool] = [stage for stage in made(work)["stages"] if isinstance(stage, PoolKept)]
        return baselines(folder, cache, pool.head)

    def said(self, work: Path) -> Mapping[str, str]:
        """See `ClipRecipe.said`."""
        return wagon_words.said(work, made(work)["told"])


def gently(tables: Arrays, grid: NDArray[np.float32]) -> Arrays:
    """Prices below 0 for the settings between the full walk and what price 0 asks for: there no exit is taken, and
    skips alone grow."""
    between = grid[(grid > 0) & (grid < tables["knobs"][1])]
    steps = -STEP * np.arange(len(between), 0, -1.0)
    prices = np.concatenate([tables["knob_prices"][:1], steps, tables["knob_prices"][1:]])
    knobs = np.concatenate([tables["knobs"][:1], between, tables["knobs"][1:]]).astype(np.float32)
    return tables | {"knob_prices": prices, "knobs": knobs}


def fitted_heads(
    data: Fitting, features: Tensor, apart: Tensor, parts: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> list[SpreadHead]:
    """A head for each part: trained on its first rows."""
    masks = [by_moment(skipping(apart, ORDER, float(each)), ORDER) for each in _quantiles(apart, SHOWN)]
    return [
        train_spread_head(features[rows], [mask[rows] for mask in masks], data.labels[rows], data.classes, seed=SEED)
        for rows, _ in parts
    ]


def held_out(
    data: Fitting, heads: Heads, features: Tensor, took: NDArray[np.bool_], order: Sequence[int]
) -> NDArray[np.float32]:
    """Logits after each lap by heads that never saw the clip: float32 [laps, n, classes]."""
    told = np.zeros((MOMENTS, len(data.labels), data.classes), np.float32)
    for head, (_, rows) in zip(heads, data.parts()[:-1], strict=False):
        told[:, rows] = along(head, features[rows], took[:, rows], order)
    return told


def compared(data: Fitting, heads: Heads, features: Tensor, apart: Tensor) -> Arrays:
    """What chose the order: cross-validated, frames seen, log loss and right for skips of several strengths, without
    exits, in either order; and how the full walk does at places that no head has seen."""
    told: Arrays = {}
    for name, order in (("time", tuple(range(MOMENTS))), ("coarse", ORDER)):
        judged = []
        for threshold in _quantiles(apart, SHOWN):
            took = skipping(apart, order, float(threshold))
            judged.append([took.sum(axis=0).mean(), *_judged(held_out(data, heads, features, took, order)[-1], data)])
        told[f"order_{name}"] = np.array(judged)
    away = data.places()
    strangers = fitted_heads(data, features, apart, away)
    right = np.zeros(len(data.labels), bool)
    for head, (_, rows) in zip(strangers, away, strict=True):
        right[rows] = (head.over(features[rows]).argmax(dim=1) == data.labels[rows]).numpy()
    return told | {"new_places": right}


def _judged(logits: NDArray[np.float32], data: Fitting) -> tuple[float, float]:
    answers = torch.from_numpy(logits)
    loss = torch.nn.functional.cross_entropy(answers, data.labels)
    return float(loss), float((answers.argmax(dim=1) == data.labels).float().mean())


def _quantiles(apart: Tensor, shares: Sequence[float]) -> Tensor:
    return torch.from_numpy(np.quantile(apart.numpy(), shares).astype(np.float32))


RECIPE = WagonRecipe(
    module="models.recipes.wagon_monitor",
    title=package.Title(
        name="wagon-monitor",
        version="1.0.0",
        modality="video",
        task="classification",
        family="skip-update",
        router="frames",
        description="What happens at a tank wagon under a fixed camera (four classes): of 32 frames those are seen "
        "that bring something new.",
        laps=MOMENTS,
        zeros=("kept", "best", "least", "total", "count"),
        default_agreement=wagon_words.DEFAULT_AGREEMENT,
    ),
    words=wagon_words.WORDS,
    loses=wagon_words.LOSES,
)

if __name__ == "__main__":
    RECIPE.main()
