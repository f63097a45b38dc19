"""The shipped package is what its recipe says: readable by the server, small, counted, and as good as its card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models import calibrate
from models.data import cifar10
from models.recipes import cifar10_early_exit as recipe
from service.package.load import Package, load


@pytest.fixture(scope="module")
def shipped(zoo: Path) -> Package:
    return load(zoo / recipe.TITLE.name)


def test_exits_cost_what_the_stages_up_to_them_do(shipped: Package) -> None:
    counted = [stage.macs_per_row for stage in shipped.manifest.stages]
    assert shipped.tables["exit_macs"].tolist() == np.cumsum(counted).tolist()


def test_the_first_exit_is_cheap(shipped: Package) -> None:
    assert len(shipped.graph.exits) >= 4
    assert shipped.tables["exit_macs"][0] <= 0.15 * shipped.graph.full_macs


def test_splits_are_those_of_the_recipe(shipped: Package) -> None:
    router, calibration = (set(shipped.tables[f"{name}_index"].tolist()) for name in ("router", "calibration"))
    assert (len(router), len(calibration)) == (recipe.ROUTER_SIZE, recipe.CALIBRATION_SIZE)
    assert not router & calibration
    assert shipped.record.size == recipe.CALIBRATION_SIZE


@pytest.mark.usefixtures("data_dir")
def test_it_classifies_devtest(shipped: Package) -> None:
    devtest = cifar10.load("devtest").take(np.arange(0, 5000, 10))
    logits = calibrate.exit_logits(recipe.graphs(shipped.path), devtest.images)
    right = (logits.argmax(axis=2) == devtest.labels).mean(axis=1)
    assert right[-1] > 0.86, "500 images: three standard errors below 90 %"
    assert right[0] > 0.80
