"""Export of a tiny untrained net: graphs equal torch, per stage and over the walk, and the server reads the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from models import calibrate, export, package
from models.calibration.walks import ExitAnswers
from models.export import ExportedStage
from models.macs import macs_per_row
from models.nets.fold import folded
from models.nets.layers import ConvNorm
from models.nets.multi_exit import MultiExitNet, Widths, build, without_exit
from service.core import FULL
from service.routing import base

TINY = Widths(fine=4, coarse=6, middle=8, late=8)
GLIMPSES = {"image": {"glimpse": "image", "height": 32, "width": 32}}
TITLE = package.Title("tiny", "1.0.0", "image", "classification", "early-exit", "early-exit", "For a test.")


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def net(images: NDArray[np.uint8]) -> MultiExitNet:
    """Untrained, but with batch statistics of its own, so that folding has something to fold."""
    torch.manual_seed(0)
    made = build(TINY, classes=3, early_exits=True)
    made.stem.fit(torch.from_numpy(images))
    with torch.no_grad():
        made.train()(torch.from_numpy(images))
    return made.eval()


@pytest.fixture(scope="module")
def stages(net: MultiExitNet) -> list[ExportedStage]:
    return export.exported_stages(net)


@pytest.fixture(scope="module")
def files(
    stages: list[ExportedStage], images: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    folder = tmp_path_factory.mktemp("tiny")
    return export.write_stages(stages, torch.from_numpy(images[:2]), folder)


def test_graphs_equal_the_network(
    net: MultiExitNet, stages: list[ExportedStage], files: list[Path], images: NDArray[np.uint8]
) -> None:
    worst = export.parity(net, stages, files, images)
    assert set(worst) == {"block1", "block2", "block3", "block4", "block5", "walk"}
    export.require_parity(worst)


def test_an_exit_taken_out_leaves_the_others_as_they_were(
    net: MultiExitNet, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    shorter = without_exit(net, "block2")
    with torch.no_grad():
        all_exits, left = net(torch.from_numpy(images[:4])), shorter.eval()(torch.from_numpy(images[:4]))
    assert [torch.equal(one, other) for one, other in zip([all_exits[0], *all_exits[2:]], left, strict=True)] == [
        True
    ] * 4
    stages = export.exported_stages(shorter)
    assert [stage.stage.name for stage in stages] == ["block1", "block2", "block4", "block5"]
    assert (stages[1].ports.inputs, stages[1].ports.outputs) == (("fine", "coarse"), ("x3", "logits"))
    files = export.write_stages(stages, torch.from_numpy(images[:2]), tmp_path)
    export.require_parity(export.parity(shorter, stages, files, images))


def test_a_graph_that_differs_is_refused() -> None:
    with pytest.raises(export.ParityError, match="block2"):
        export.require_parity({"block1": 1e-6, "block2": 1e-3})
    with pytest.raises(export.ParityError):
        export.require_parity({"walk": float("nan")})


def test_ports_and_axes(files: list[Path]) -> None:
    first, second, last = (onnx.load(file).graph for file in (files[0], files[1], files[-1]))
    assert [port.name for port in first.input] == ["image"]
    assert [port.name for port in first.output] == ["fine", "coarse", "logits"]
    assert [port.name for port in second.input] == ["fine", "coarse"]
    assert [port.name for port in last.output] == ["logits"]
    for graph in (first, second, last):
        for port in (*graph.input, *graph.output):
            axes = port.type.tensor_type.shape.dim
            assert axes[0].dim_param == "rows"
            assert all(axis.dim_value > 0 for axis in axes[1:])


def test_norms_are_folded_into_convolutions(net: MultiExitNet, files: list[Path]) -> None:
    operators = {node.op_type for file in files for node in onnx.load(file).graph.node}
    assert "BatchNormalization" not in operators
    with torch.no_grad():
        next(unit for unit in net.modules() if isinstance(unit, ConvNorm)).norm.weight.neg_()
        with pytest.raises(ValueError, match="negative scale"):
            folded(net)
        next(unit for unit in net.modules() if isinstance(unit, ConvNorm)).norm.weight.neg_()


def test_macs_of_the_first_stage_by_hand(files: list[Path]) -> None:
    stem, fine = 24 * 31 * 31 * 12, 4 * 31 * 31 * 24 * 9 + 4 * 15 * 15 * 4 * 9
    coarse, head = 6 * 7 * 7 * 4 * 9 + 6 * 7 * 7 * 6 * 9, 6 * 3
    assert macs_per_row(onnx.load(files[0])) == stem + fine + coarse + head


def test_the_server_reads_the_package_and_walks_as_recorded(files: list[Path], images: NDArray[np.uint8]) -> None:
    folder, labels = files[0].parent, np.arange(60) % 3
    entries = package.stage_entries(files, GLIMPSES)
    logits = calibrate.exit_logits(files, images, batch=7)
    router = calibrate.fit_router(logits, labels, package.exit_macs(entries))
    arrays = calibrate.calibration_arrays(router, ExitAnswers.of(logits, router.temperature, labels))
    served = package.write(folder, TITLE, entries, ["a", "b", "c"], arrays, {"recipe": "a test"})
    rule = base.build(served)
    assert served.record.prices[0] == FULL
    for place in range(0, len(served.record.prices), 3):
        price = np.full(60, served.record.prices[place])
        assert walked_exits(rule, logits, price) == served.record.exits[place].tolist()


def walked_exits(rule: base.Router, logits: NDArray[np.float32], price: NDArray[np.float64]) -> list[int]:
    """The exit of each sample by the server's own router."""
    exits = np.full(len(price), -1)
    for stage, of_exit in enumerate(logits):
        leaves = rule.route(stage, {"logits": of_exit}, price).next == base.LEAVE
        exits[(exits < 0) & leaves] = stage
    return exits.tolist()


def test_a_whole_net_is_one_graph(images: NDArray[np.uint8], tmp_path: Path) -> None:
    torch.manual_seed(0)
    static = build(TINY, classes=3, early_exits=False).eval()
    file = export.write_whole(static, torch.from_numpy(images[:2]), tmp_path / "whole.onnx")
    with torch.no_grad():
        (expected,) = static(torch.from_numpy(images[:5]))
    assert np.abs(calibrate.exit_logits([file], images[:5])[0] - expected.numpy()).max() < 1e-4
