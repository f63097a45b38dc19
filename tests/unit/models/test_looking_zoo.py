"""The packages that look several times are what their recipes say: small, counted, certified on their split."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.data import imagenette
from models.recipes.imagenette_glance import BOXES, LAPS
from service.package.load import Package, load


@pytest.fixture(params=["imagenette-glance", "imagenette-resolution"])
def shipped(request: pytest.FixtureRequest, zoo: Path) -> Package:
    return load(zoo / str(request.param))


def test_splits_are_those_of_the_recipe(shipped: Package) -> None:
    router, calibration = (set(shipped.tables[f"{name}_index"].tolist()) for name in ("router", "calibration"))
    assert (len(router), len(calibration)) == (imagenette.ROUTER_SIZE, imagenette.CALIBRATION_SIZE)
    assert not router & calibration
    assert shipped.record.size == imagenette.CALIBRATION_SIZE


def test_the_default_is_certified_and_cheap(shipped: Package) -> None:
    record, agreement = shipped.record, 1 - shipped.record.losses("agreement").mean(axis=1)
    cheap = record.macs.mean(axis=1) <= 0.5 * shipped.graph.full_macs
    assert agreement[cheap].max() > 0.98


def test_the_glance_has_boxes_for_all_its_looks(zoo: Path) -> None:
    found = load(zoo / "imagenette-glance")
    assert found.tables["boxes"].shape == BOXES.shape
    assert found.manifest.laps == LAPS
    assert len(found.graph.exits) == LAPS + 1
