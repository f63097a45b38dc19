"""Dynamic kernels: routed as by early exits, and what was mixed is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from service.package.load import Package, load
from service.package.manifest import Manifest
from service.routing.base import build

LOGITS = np.array([[3.0, 0.0, 0.0], [0.0, 0.1, 0.2]], np.float32)
SHARES = np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)
OUTPUTS = {"logits0": LOGITS, "logits1": LOGITS}


@pytest.fixture(scope="module")
def package(colours: Path) -> Package:
    """The early-exit package of the tests, as if its second stage mixed kernels."""
    found = load(colours)
    content = found.manifest.model_dump()
    content["router"]["name"] = "dynamic-kernels"
    content["stages"][1]["outputs"]["mixture1"] = "state"
    return dataclasses.replace(found, manifest=Manifest.model_validate(content))


def test_it_routes_as_early_exits_do(package: Package, colours: Path) -> None:
    outputs, prices = OUTPUTS | {"mixture1": SHARES}, np.array([1.0, 1e3])
    plain, mixed = build(load(colours)), build(package)
    for stage in range(2):
        expected, given = plain.route(stage, outputs, prices), mixed.route(stage, outputs, prices)
        assert np.array_equal(given.next, expected.next)
        assert np.array_equal(given.worth, expected.worth)


def test_a_stage_that_mixes_tells_the_shares(package: Package) -> None:
    outputs, router = OUTPUTS | {"mixture1": SHARES}, build(package)
    assert router.route(0, outputs, np.ones(2)).signals is None
    assert router.route(1, outputs, np.ones(2)).signals == {"mixture1": SHARES}
