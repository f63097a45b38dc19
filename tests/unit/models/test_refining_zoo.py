"""The shipped packages that refine: small, counted, and with a price path that means something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.data import camvid
from models.recipes import camvid_detect, camvid_refine
from service.core import CHEAPEST, FULL
from service.package.load import Package, load

PRICES = 8


@pytest.fixture(scope="module", params=["camvid-refine", "camvid-detect"])
def shipped(request: pytest.FixtureRequest, zoo: Path) -> Package:
    return load(zoo / str(request.param))


def test_the_path_falls_from_everything_refined_to_nothing(shipped: Package) -> None:
    macs = shipped.record.macs.mean(axis=1)
    assert np.all(np.diff(macs) <= 0)
    assert len(np.unique(macs)) >= PRICES
    assert np.all(shipped.record.macs[0] == shipped.graph.full_macs)
    assert np.all(shipped.record.macs[-1] == shipped.graph.macs[0])
    assert shipped.record.size == 60


@pytest.mark.usefixtures("data_dir")
def test_it_segments_devtest(zoo: Path) -> None:
    package = load(zoo / "camvid-refine")
    devtest = camvid.load("devtest")
    some = camvid.Frames(devtest.images[::20], devtest.masks[::20], devtest.files[::20])
    walks = camvid_refine.walk(package, some, np.array([FULL, 0.0146, CHEAPEST]))
    full, between, coarse = (float(camvid.intersections(table).mean()) for table in walks.tallies)
    assert full > 0.45
    assert full - 0.02 < between
    assert coarse < full
    assert walks.counts[1].mean() < 0.4 * package.graph.rows[1]
    assert len(np.unique(walks.counts[1])) > 1


@pytest.mark.usefixtures("data_dir")
def test_it_detects_on_devtest(zoo: Path) -> None:
    package = load(zoo / "camvid-detect")
    devtest = camvid.load("devtest")
    some = camvid.Frames(devtest.images[::12], devtest.masks[::12], devtest.files[::12])
    walks = camvid_detect.walk(package, some, np.array([FULL, 0.5, CHEAPEST]))
    assert walks.quality[1].mean() > walks.quality[2].mean()
    assert walks.counts[1].mean() < walks.counts[0].mean()
