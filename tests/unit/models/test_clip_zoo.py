"""The shipped packages that read clips: small, of one backbone, counted, and what their recipes say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from models import export
from models import package as packages
from models.calibration.traverse import Stages, traverse
from models.calibration.views import Where
from models.macs import macs_per_row
from models.nets.clips import FRAME
from models.recipes import ucf, ucf_agent, ucf_frames, ucf_hierarchical, ucf_keyframes
from service.core import FULL
from service.package.load import load
from service.package.stage import Stage
from service.routing.base import build
from service.routing.early_exit import softmax

RECIPES = (ucf_frames.RECIPE, ucf_keyframes.RECIPE, ucf_hierarchical.RECIPE, ucf_agent.RECIPE)
MAX_BYTES = 8 * 2**20


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.title.name)
def test_a_package_is_what_its_recipe_says(zoo: Path, recipe: ucf.ClipRecipe) -> None:
    shipped = load(zoo / recipe.title.name)
    assert sum(file.stat().st_size for file in shipped.path.iterdir()) <= MAX_BYTES
    counted = [macs_per_row(onnx.load(shipped.path / stage.graph)) for stage in shipped.manifest.stages]
    assert counted == [stage.macs_per_row for stage in shipped.manifest.stages]
    assert shipped.manifest.default_agreement == recipe.title.default_agreement
    assert shipped.record.size == 108
    frames = sum(rows for kind, rows in zip(shipped.graph.kinds, shipped.graph.rows, strict=True) if kind == "see")
    assert frames == ucf.MOMENTS


def test_all_have_one_backbone(zoo: Path) -> None:
    assert len({packages.digest(zoo / recipe.title.name / "see.onnx") for recipe in RECIPES}) == 1


@pytest.mark.usefixtures("data_dir")
def test_calibration_groups_are_no_others() -> None:
    groups = ucf.ucf101.load("train").groups
    assert set(groups[ucf.calibration_rows()].tolist()) == set(ucf.CALIBRATION_GROUPS)
    assert not set(ucf.CALIBRATION_GROUPS) & set(ucf.FIT_GROUPS)
    assert np.isin(groups, [*ucf.CALIBRATION_GROUPS, *ucf.FIT_GROUPS]).all()


class Clips:
    """Two clips of noise, the same frame at every size that a stage asks for."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.frames = rng.integers(0, 256, (2, ucf.MOMENTS, *FRAME, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.frames)

    def view(self, stage: Stage, samples: NDArray[np.int64], at: Where) -> dict[str, NDArray[Any]]:
        [(name, spec)] = stage.glimpses.items()
        if spec.glimpse == "frames":
            return {name: self.frames[samples][:, :, : spec.shape[1], : spec.shape[2]]}
        owner = np.repeat(samples, [1 if where is None else len(where) for where in at])
        shares = np.concatenate([spec.default if where is None else where for where in at])[:, 0]  # type: ignore[misc]
        height, width = spec.shape[:2]
        return {name: self.frames[owner, (shares * ucf.MOMENTS).astype(int), :height, :width]}


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
