"""Weights as int8: smaller files that compute the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from models import export, storage
from models.export import GraphStage, StagePorts


class Both(GraphStage):
    """A table and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.name, self.ports = "both", StagePorts(("ids",), ("logits",))
        self.table, self.linear = nn.Embedding(100, 64), nn.Linear(64, 80)

    def forward(self, ids: Tensor) -> tuple[Tensor, ...]:
        return (self.linear(self.table(ids)),)


def test_rounding_puts_each_output_on_a_grid_of_127_steps() -> None:
    layer = nn.Linear(64, 80)
    before = layer.weight.detach().clone()
    storage.rounded(layer)
    scale = before.abs().amax(dim=1, keepdim=True) / 127
    assert ((layer.weight - before).abs() <= scale * 0.501).all()
    steps = layer.weight / scale
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)


def test_a_shrunk_graph_computes_the_same_with_a_quarter_of_the_bytes(tmp_path: Path) -> None:
    stage = Both().eval()
    storage.rounded(stage)
    file, ids = tmp_path / "both.onnx", torch.randint(0, 100, (3,))
    export.write_stage(stage, (ids,), file)
    before, large = export.run(export.session(file), {"ids": ids.numpy()}), file.stat().st_size
    storage.shrink(file)
    after = export.run(export.session(file), {"ids": ids.numpy()})
    np.testing.assert_allclose(after["logits"], before["logits"], atol=1e-5)
    assert file.stat().st_size < large / 2.5
    kinds = {tensor.data_type for tensor in onnx.load(file).graph.initializer if np.prod(tensor.dims) > 1000}
    assert kinds == {onnx.TensorProto.INT8}


def test_a_coarse_table_is_kept_two_numbers_to_a_byte(tmp_path: Path) -> None:
    stage = Both().eval()
    fine = stage.table.weight.detach().clone()
    storage.coarse(stage.table)
    assert max(len(vector.unique()) for vector in stage.table.weight) <= 16
    error = (stage.table.weight - fine).square().mean() / fine.square().mean()
    assert error < 0.015, "of normally distributed numbers 4 bits lose 1.2 %"
    coarse = stage.table.weight.detach().clone()
    storage.rounded(stage)
    assert torch.equal(stage.table.weight, coarse), "rounding a second time would leave the grid"
    file, ids = tmp_path / "both.onnx", torch.randint(0, 100, (3,))
    export.write_stage(stage, (ids,), file)
    before = export.run(export.session(file), {"ids": ids.numpy()})
    storage.shrink(file)
    after = export.run(export.session(file), {"ids": ids.numpy()})
    np.testing.assert_allclose(after["logits"], before["logits"], atol=1e-5)
    sizes = {tensor.data_type: np.prod(tensor.dims) for tensor in onnx.load(file).graph.initializer}
    assert sizes[onnx.TensorProto.UINT8] == 100 * 64 / 2


def test_weights_off_any_grid_are_left_alone(tmp_path: Path) -> None:
    file, ids = tmp_path / "both.onnx", torch.randint(0, 100, (3,))
    export.write_stage(Both().eval(), (ids,), file)
    large = file.stat().st_size
    storage.shrink(file)
    assert file.stat().st_size > large * 0.9
