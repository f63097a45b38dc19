"""What holds for every shipped package: small, complete, counted, and readable by the server."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import onnx
import pytest

from models.macs import macs_per_row
from service.package.load import Package, load
from service.package.manifest import FILE
from service.routing.base import build

ZOO = Path(__file__).parents[3] / "models" / "zoo"
MAX_BYTES = 15_000_000
SMALLER = {"camvid": 8_000_000, "imagenette": 8_000_000, "imdb": 6 * 2**20, "news20": 6 * 2**20} | dict.fromkeys(
    ("ucf", "wagon"), 8 * 2**20
)
"""Families of packages, by the first part of their names, that have to be smaller still."""


@pytest.fixture(scope="module", params=sorted(file.parent.name for file in ZOO.glob(f"*/{FILE}")))
def shipped(request: pytest.FixtureRequest) -> Package:
    return load(ZOO / str(request.param))


def test_it_is_small_and_has_a_card(shipped: Package) -> None:
    assert shipped.path.name == shipped.name
    assert sum(file.stat().st_size for file in shipped.path.iterdir()) <= SMALLER.get(
        shipped.name.split("-")[0], MAX_BYTES
    )
    assert (shipped.path / "README.md").read_text().startswith(f"# {shipped.name}\n")


def test_no_graph_is_left_over(shipped: Package) -> None:
    assert {file.name for file in shipped.path.glob("*.onnx")} == {stage.graph for stage in shipped.manifest.stages}


def test_its_router_takes_its_tables(shipped: Package) -> None:
    build(shipped)


def test_macs_are_counted_not_typed(shipped: Package) -> None:
    graphs = {stage.graph: onnx.load(shipped.path / stage.graph) for stage in shipped.manifest.stages}
    for stage in shipped.manifest.stages:
        # A graph that takes pictures of any size is counted at the size that its stage asks for.
        sizes = {port: glimpse.shape for port, glimpse in stage.glimpses.items() if len(glimpse.shape) == 3}
        assert stage.macs_per_row == macs_per_row(graphs[stage.graph], sizes)


def test_it_tells_how_it_came_to_be(shipped: Package) -> None:
    told = shipped.manifest.provenance
    assert {"recipe", "seed", "data", "machine", "parity_max_abs", "created"} <= set(told)
    assert find_spec(str(told["recipe"]))


def test_what_the_router_was_fitted_on_is_not_what_it_was_certified_on(shipped: Package) -> None:
    rows = [shipped.tables.get(f"{split}_index") for split in ("router", "calibration")]
    # Frames and clips are split by drive, group or camera, which the provenance names.
    assert all(each is not None for each in rows) or shipped.manifest.provenance["splits"]
    router, calibration = (set() if each is None else set(each.tolist()) for each in rows)
    assert not router & calibration
    assert len(calibration) in (0, shipped.record.size)
