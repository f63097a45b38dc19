"""The shipped packages that skip: a price path that means something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.recipes import cifar10_early_exit as recipe
from service.package.load import Package, load

PRICES = 8


@pytest.fixture(scope="module", params=["gate", "policy", "halting"])
def shipped(request: pytest.FixtureRequest, zoo: Path) -> Package:
    return load(zoo / f"cifar10-skip-{request.param}")


def test_splits_are_those_of_the_early_exit_network_that_it_is_grown_on(shipped: Package) -> None:
    router, calibration = (set(shipped.tables[f"{name}_index"].tolist()) for name in ("router", "calibration"))
    assert (len(router), len(calibration)) == (recipe.ROUTER_SIZE, recipe.CALIBRATION_SIZE)
    assert not router & calibration


def test_the_price_path_runs_from_every_block_to_none(shipped: Package) -> None:
    macs = shipped.record.macs.mean(axis=1)
    assert len(macs) >= PRICES
    assert macs[0] == shipped.graph.full_macs
    assert np.all(np.diff(macs) < 0)
    assert macs[-1] < 0.5 * macs[0]
