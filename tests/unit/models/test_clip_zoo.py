"""The shipped packages that read clips: small, of one backbone, counted, and what their recipes say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from models import package as packages
from models.macs import macs_per_row
from models.recipes import ucf, ucf_agent, ucf_frames, ucf_hierarchical, ucf_keyframes
from service.package.load import load

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
