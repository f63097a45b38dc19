"""Walking a split at every price gives what the package's own record says."""

from pathlib import Path

import numpy as np
import pytest

from models.calibration.traverse import Stages, Traversal, traverse
from service.package.load import Package, load
from service.routing.base import build
from tests.packages import pictures


@pytest.fixture(scope="module")
def package(colours: Path) -> Package:
    return load(colours)


@pytest.fixture(scope="module")
def walks(package: Package) -> Traversal:
    images, _ = pictures(len(package.record.labels), seed=2)
    stages = Stages.of(package.manifest, package.path)
    return traverse(stages, build(package), {"image": images}, package.record.prices, batch=700)


def test_walks_are_those_of_the_record(package: Package, walks: Traversal) -> None:
    assert np.array_equal(walks.predictions, package.record.predictions)
    assert np.array_equal(walks.exits, package.record.exits)
    assert np.array_equal(walks.macs, package.record.macs)


def test_routes_tell_which_stages_ran(package: Package, walks: Traversal) -> None:
    assert walks.routes.tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert np.array_equal(walks.route, package.record.exits)


def test_answers_are_probabilities(walks: Traversal) -> None:
    assert np.allclose(walks.answers.sum(axis=2), 1.0, atol=1e-5)
    assert np.array_equal(walks.scores, walks.answers.max(axis=2))
