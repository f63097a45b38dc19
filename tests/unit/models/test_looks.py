"""The networks that look several times: one graph at any size, its weights halved on disk, its padding, its tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from models import export, half
from models.calibration.climbing import KNOTS, Seen, fit_climbing
from models.macs import macs_per_row
from models.nets.fold import folded
from models.nets.lite import LITE0, Blocks, Bottleneck, LiteNet
from models.nets.looks import Focus, Sized
from models.training.looks import candidates, crops
from service.package.graph import StageGraph
from service.routing.base import LEAVE

SIZES = (96, 128)


@pytest.fixture(scope="module")
def backbone() -> LiteNet:
    torch.manual_seed(0)
    net = LiteNet().eval()
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_var, 0.1, 0.2)
    return net


def test_the_backbone_keeps_its_stride_at_every_size(backbone: LiteNet) -> None:
    assert sum(group.repeats for group in LITE0) == len(backbone.blocks)
    with torch.no_grad():
        for size in SIZES:
            assert backbone(torch.zeros(1, size, size, 3, dtype=torch.uint8)).shape == (1, 1280, size // 32, size // 32)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (3, 2), (5, 2)])
def test_padding_is_that_of_the_pretrained_net(kernel: int, stride: int) -> None:
    block = Bottleneck(8, 8, kernel, stride, 1)
    out = block.depth(torch.randn(1, 8, 16, 16))
    assert out.shape[2] == 16 // stride
    assert Blocks(1, kernel, stride, 1, 8, 8).stride == stride


def test_one_graph_serves_every_size(backbone: LiteNet, tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = Sized(backbone, SIZES, classes=3)
    for weight in (net.weight, net.bias, net.trust):
        nn.init.normal_(weight, 0, 0.05)
    net = half.round_weights(folded(net))  # type: ignore[assignment]
    file = tmp_path / "look.onnx"
    pictures = {size: torch.randint(0, 255, (2, size, size, 3), dtype=torch.uint8) for size in SIZES}
    evidence = torch.randn(2, 3)
    export.write_of_any_size(net, (pictures[96], evidence), file)
    graph = export.session(file)
    for picture in pictures.values():
        with torch.no_grad():
            expected = net(picture, evidence)[1].numpy()
        made = export.run(graph, {"image": picture.numpy(), "evidence": evidence.numpy()})
        assert np.abs(made["logits"] - expected).max() <= export.TOLERANCE
        np.testing.assert_array_equal(made["kept"], made["logits"])
    small, large = (macs_per_row(onnx.load(file), {"image": (size, size, 3)}) for size in SIZES)
    assert 1.7 < large / small < 1.8
    assert file.stat().st_size < 7_200_000


def test_the_first_look_is_the_glance_and_later_ones_add_up(backbone: LiteNet) -> None:
    torch.manual_seed(2)
    net = Focus(backbone, classes=3, candidates=5).eval()
    picture = torch.randint(0, 255, (1, 96, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        told, looked, ranking, logits = net(picture, torch.zeros(1, 3), torch.zeros(1, 1), torch.zeros(1, 5))
        again = net(picture, told, looked, ranking)
        mean = backbone(picture).mean((2, 3))
    torch.testing.assert_close(logits, net.glance(mean))
    torch.testing.assert_close(again[3], logits + net.crop(mean))
    torch.testing.assert_close(again[2], ranking)
    assert again[1].tolist() == [[2.0]]


def test_half_storage_refuses_what_it_cannot_hold() -> None:
    weight = onnx.numpy_helper.from_array(np.full((64, 64), 1e9, np.float32), "w")
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", 64]) for name in "xy"]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", ports[:1], ports[1:], [weight]))
    with pytest.raises(ValueError, match="beyond float16"):
        half.store_half(model)


def test_candidates_cover_the_picture() -> None:
    boxes = candidates(5, (0.5, 0.7))
    assert boxes.shape == (50, 4)
    assert boxes.min() == 0
    assert boxes.max() == 1
    photos = np.random.default_rng(0).integers(0, 255, (2, 40, 40, 3), dtype=np.uint8)
    assert crops(photos, boxes[:2], 20).shape == (2, 20, 20, 3)


def test_climbing_goes_straight_up_where_the_middle_is_no_help() -> None:
    graph = StageGraph(
        names=("a", "b", "c"),
        macs=(10**7, 4 * 10**7, 9 * 10**7),
        after=((1, 2), (2,), ()),
        exits=("a", "b", "c"),
        exit_of=(0, 1, 2),
        full_macs=14 * 10**7,
    )
    rng = np.random.default_rng(0)
    score = rng.uniform(0.3, 1, 2000).astype(np.float32)
    right = np.ones(2000)
    ways = {
        (0,): Seen(score, score.astype(float)),
        (0, 1): Seen(score, score.astype(float)),
        (0, 2): Seen(score, right),
        (0, 1, 2): Seen(score, right),
    }
    found = fit_climbing(ways, graph, bins=5)
    worth = (KNOTS > 0) & (found.leave_price[0, 0] > KNOTS)
    assert (found.choice[worth, 0, 0] == 2).all()
    assert (found.choice[0] == np.array([[1], [2], [LEAVE]])).all()
    assert (np.diff(found.leave_price[0]) <= 0).all()
    lowest = float(1 - score[score < found.edges[0, 1]].mean()) / 0.09
    assert found.leave_price[0, 0] == pytest.approx(lowest, rel=0.05)
    assert (found.leave_price[2] == -np.inf).all()
    assert KNOTS[0] == -np.inf
