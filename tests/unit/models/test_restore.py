"""Nets back from their graphs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from models import export
from models.nets.lite_features import LiteFeatures
from models.nets.refine import Tile
from models.nets.refine_stages import TileStage
from models.restore import restore


@torch.no_grad()
def test_a_net_comes_back_from_its_graph(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, other = Tile(LiteFeatures(8), 11), Tile(LiteFeatures(8), 11).eval()
    nn.init.normal_(net.change.weight, std=0.1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn_like(module.running_mean) * 0.2  # type: ignore[arg-type]
            module.running_var = torch.rand_like(module.running_var) + 0.5  # type: ignore[arg-type]
    shown = (torch.randint(0, 256, (2, 40, 48, 3), dtype=torch.uint8), torch.randn(2, 32, 7, 8))
    export.write_stage(TileStage(net.eval()).eval(), shown, tmp_path / "tile.onnx")
    assert not torch.allclose(TileStage(other)(*shown)[0], TileStage(net)(*shown)[0])
    restore(other.train(), tmp_path / "tile.onnx")
    assert torch.allclose(TileStage(other)(*shown)[0], TileStage(net)(*shown)[0], atol=1e-4)


def test_a_graph_of_another_net_is_refused(tmp_path: Path) -> None:
    shown = (torch.zeros((2, 40, 48, 3), dtype=torch.uint8), torch.zeros(2, 32, 7, 8))
    export.write_stage(TileStage(Tile(LiteFeatures(8), 11).eval()).eval(), shown, tmp_path / "tile.onnx")
    with pytest.raises(KeyError):
        restore(nn.Linear(3, 3), tmp_path / "tile.onnx")
