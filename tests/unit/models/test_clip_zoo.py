"""The shipped packages that read clips: small, of one backbone, counted, and what their recipes say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from models import export
from models import package as packages
from models.calibration.traverse import Stages, traverse
from models.calibration.views import Where
from models.data import wagon4
from models.nets.clips import FRAME, WIDE
from models.nets.kept import SpreadHead
from models.recipes import ucf, ucf_agent, ucf_frames, ucf_hierarchical, ucf_keyframes, wagon, wagon_monitor
from models.recipes.clip_recipe import ClipRecipe
from service.core import FULL
from service.package.load import load
from service.package.stage import Stage
from service.routing.base import build
from service.routing.early_exit import softmax

RECIPES = (ucf_frames.RECIPE, ucf_keyframes.RECIPE, ucf_hierarchical.RECIPE, ucf_agent.RECIPE)
EVERY = (*RECIPES, wagon_monitor.RECIPE)
CALIBRATED = {"wagon-monitor": 48}


@pytest.mark.parametrize("recipe", EVERY, ids=lambda recipe: recipe.title.name)
def test_a_package_is_what_its_recipe_says(zoo: Path, recipe: ClipRecipe[Any]) -> None:
    shipped = load(zoo / recipe.title.name)
    assert shipped.manifest.default_agreement == recipe.title.default_agreement
    assert shipped.record.size == CALIBRATED.get(recipe.title.name, 108)
    frames = sum(rows for kind, rows in zip(shipped.graph.kinds, shipped.graph.rows, strict=True) if kind == "see")
    assert frames == recipe.clips.moments


def test_all_have_one_backbone(zoo: Path) -> None:
    assert len({packages.digest(zoo / recipe.title.name / "see.onnx") for recipe in RECIPES}) == 1


@pytest.mark.usefixtures("data_dir")
def test_calibration_groups_are_no_others() -> None:
    groups = ucf.ucf101.load("train").groups
    assert set(groups[ucf_frames.RECIPE.calibration_rows()].tolist()) == set(ucf.CALIBRATION_GROUPS)
    assert not set(ucf.CALIBRATION_GROUPS) & set(ucf.FIT_GROUPS)
    assert np.isin(groups, [*ucf.CALIBRATION_GROUPS, *ucf.FIT_GROUPS]).all()


@pytest.mark.usefixtures("data_dir")
def test_clips_of_wagons_serve_one_purpose_each() -> None:
    train = wagon4.load("train")
    rows = wagon.calibration_rows(train)
    fitted = wagon.Fitting(Path("unused")).rows
    assert sorted([*rows.tolist(), *fitted.tolist()]) == list(range(len(train)))
    assert not set(train.videos) & set(wagon4.load("devtest").videos), "a clip was in both"
    assert set(train.labels[rows]) == set(train.labels)


class Clips:
    """Two clips of noise, the same frame at every size that a stage asks for."""

    def __init__(self, count: int = ucf.MOMENTS, size: tuple[int, int] = FRAME) -> None:
        rng = np.random.default_rng(0)
        self.frames = rng.integers(0, 256, (2, count, *size, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.frames)

    def view(self, stage: Stage, samples: NDArray[np.int64], at: Where) -> dict[str, NDArray[Any]]:
        [(name, spec)] = stage.glimpses.items()
        if spec.glimpse == "frames":
            return {name: self.frames[samples][:, :, : spec.shape[1], : spec.shape[2]]}
        owner = np.repeat(samples, [1 if where is None else len(where) for where in at])
        shares = np.concatenate([spec.default if where is None else where for where in at])[:, 0]  # type: ignore[misc]
        height, width = spec.shape[:2]
        return {name: self.frames[owner, (shares * self.frames.shape[1]).astype(int), :height, :width]}


@pytest.mark.parametrize(("name", "answering"), [("ucf-frames", "pool"), ("ucf-keyframes", "assemble")])
def test_a_full_walk_is_the_head_on_all_frames(zoo: Path, name: str, answering: str) -> None:
    shipped, clips = load(zoo / name), Clips()
    walks = traverse(Stages.of(shipped.manifest, shipped.path), build(shipped), clips, np.array([FULL]))
    see = export.session(shipped.path / "see.onnx")
    seen = np.stack([export.run(see, {"frame": clip})["features"] for clip in clips.frames])
    weights = [
        numpy_helper.to_array(tensor) for tensor in onnx.load(shipped.path / f"{answering}.onnx").graph.initializer
    ]
    matrix = next(weight for weight in weights if weight.ndim == 2).astype(np.float32)
    bias = next(weight for weight in weights if weight.shape == (9,)).astype(np.float32)
    matrix = matrix if matrix.shape[0] == 9 else matrix.T
    pooled = np.sqrt(np.concatenate([seen.max(axis=1), seen.mean(axis=1)], axis=1))
    expected = softmax((pooled @ matrix.T + bias) / shipped.tables["temperature"][-1])
    np.testing.assert_allclose(walks.answers[0], expected, atol=1e-4)
    assert (walks.macs[0] == shipped.graph.full_macs).all()


def test_walks_that_skip_are_the_head_on_the_frames_seen(zoo: Path) -> None:
    """Along whole walks at several prices: one clip that hardly changes, one of noise."""
    shipped, clips = load(zoo / "wagon-monitor"), Clips(wagon4.MOMENTS, WIDE)
    clips.frames[0] = clips.frames[0, :1]
    clips.frames[0, 20:] //= 2
    prices = np.array([FULL, *shipped.tables["knob_prices"][1:]])
    walks = traverse(Stages.of(shipped.manifest, shipped.path), build(shipped), clips, prices)
    see = export.session(shipped.path / "see.onnx")
    seen = np.stack([export.run(see, {"wide": clip})["features"] for clip in clips.frames])
    head = _head(shipped.path / "pool.onnx")
    kinds, laps = np.array(shipped.graph.kinds), np.array(shipped.graph.lap_of)
    skipped = 0
    for price in range(len(prices)):
        for clip in range(2):
            ran = walks.routes[walks.route[price, clip]].astype(bool)
            moments = [wagon_monitor.ORDER[lap - 1] for lap in laps[ran & (kinds == "see")]]
            skipped += int((ran & (kinds == "peek")).sum()) - len(moments)
            with torch.no_grad():
                logits = head.over(torch.from_numpy(seen[clip, moments][None])).numpy()
            temperature = shipped.tables["temperature"][walks.exits[price, clip]]
            np.testing.assert_allclose(walks.answers[price, clip], softmax(logits / temperature)[0], atol=1e-4)
    assert skipped > 0
    assert (walks.macs[0] == shipped.graph.full_macs).all()


def _head(graph: Path) -> SpreadHead:
    """The head that a graph of `PoolKept` holds."""
    parts = [numpy_helper.to_array(each).astype(np.float32) for each in onnx.load(graph).graph.initializer]
    layers = {max(each.shape): each for each in parts if each.ndim == 2}
    one, many = (torch.from_numpy(np.array(layers[width])) for width in (1280, 3840))
    biases = [torch.from_numpy(np.array(each)) for each in parts if each.shape == (4,)]
    assert len(biases) == 2
    names = [each.name for each in onnx.load(graph).graph.initializer if each.dims == [4]]
    first = biases[0 if "one" in names[0] else 1]
    other = biases[1 if "one" in names[0] else 0]
    turned = [weight if weight.shape[0] == 4 else weight.T for weight in (one, many)]
    return SpreadHead((turned[0], first), (turned[1], other))
