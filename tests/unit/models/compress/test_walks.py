"""Which walks a package is compressed by, and what each stage is given on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from models.compress.walks import NoSamples, StageInputs, Walks, rework, training_inputs
from service.package.load import Package, load
from tests.packages import pictures


@pytest.fixture(scope="module")
def package(colours: Path) -> Package:
    return load(colours)


def test_a_chain_is_walked_to_its_end_once(package: Package) -> None:
    images, _ = pictures(50, seed=9)
    walks = Walks.of(package, {"image": images})
    assert walks.ran.tolist() == [[True] * 3] * 50
    assert np.array_equal(walks.inputs["image"], images)


def test_stages_see_what_changed_stages_give(package: Package) -> None:
    images, _ = pictures(50, seed=9)
    seen = {}

    def change(name: str, model: onnx.ModelProto, inputs: StageInputs) -> onnx.ModelProto:
        seen[name] = inputs
        return model

    graphs = {stage.name: onnx.load(package.path / stage.graph) for stage in package.manifest.stages}
    ran = np.ones((50, 3), bool)
    ran[30:, 1:] = False
    assert rework(Walks({"image": images}, ran), graphs, change) == graphs
    assert [len(next(iter(each.now.values()))) for each in seen.values()] == [50, 30, 30]
    for each in seen.values():
        assert all(np.array_equal(each.now[name], each.before[name]) for name in each.now)


def test_a_package_of_unknown_data_says_so(package: Package) -> None:
    with pytest.raises(NoSamples, match="wasn't made from CIFAR-10"):
        training_inputs(package)
