"""Mixed kernels: one matrix a row is that row's own convolution; the twin has none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional as F

from models import export
from models.macs import macs_per_row
from models.nets.dynamic_kernels import Make, MixedPointwise, graphs, grown
from models.nets.fold import folded
from models.nets.grown import VotingStage
from models.nets.layers import Norm
from models.nets.multi_exit import FirstStage, Widths


@pytest.fixture
def mixed() -> MixedPointwise:
    torch.manual_seed(0)
    layer = MixedPointwise(5, 3, experts=4).eval()
    norm = layer.norm
    assert isinstance(norm, Norm)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return layer


def test_a_batch_is_each_row_s_own_convolution(mixed: MixedPointwise) -> None:
    x, shares = torch.randn(7, 5, 4, 4), torch.rand(7, 4).softmax(1)
    for row in range(7):
        kernel = sum(share * expert for share, expert in zip(shares[row], mixed.experts, strict=True))
        alone = mixed.norm(F.conv2d(x[row : row + 1], kernel))
        torch.testing.assert_close(mixed(x, shares)[row : row + 1], alone)


def test_the_norm_folds_into_the_kernels(mixed: MixedPointwise) -> None:
    x, shares = torch.randn(2, 5, 4, 4), torch.rand(2, 4).softmax(1)
    torch.testing.assert_close(folded(mixed)(x, shares), mixed(x, shares))


@pytest.fixture
def trunk() -> FirstStage:
    head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(196, 3))
    return FirstStage("block1", Widths(fine=4, coarse=4), head)


@pytest.mark.parametrize("experts", [0, 2])
def test_a_grown_net_answers_from_images_and_from_the_trunk_s_state(trunk: FirstStage, experts: int) -> None:
    net = grown(trunk, Make(middle=8, late=8, last=8, experts=experts), classes=3).eval()
    image = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    answers = net(image)
    made, _ = trunk({"image": image})
    assert [answer.shape for answer in answers] == [(2, 3)] * 3
    for one, alone in zip(answers, net(made), strict=True):
        torch.testing.assert_close(one, alone)
    assert not any(p.requires_grad for p in trunk.parameters())


def test_what_the_first_stage_knows_counts_on(trunk: FirstStage) -> None:
    net = grown(trunk, Make(middle=8, late=8, last=8), classes=3).eval()
    for stage in net.chain()[1:]:
        assert isinstance(stage, VotingStage)
        torch.nn.init.ones_(stage.share)
        torch.nn.init.zeros_(stage.top.linear.weight)
        torch.nn.init.zeros_(stage.top.linear.bias)
    first, *later = net(torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8))
    for answer in later:
        torch.testing.assert_close(answer, first)


def test_graphs_tell_the_shares_of_every_mixed_layer(trunk: FirstStage, tmp_path: Path) -> None:
    net = grown(trunk, Make(middle=8, late=8, last=8, experts=3), classes=3).eval()
    stages, images = graphs(net), torch.randint(0, 256, (7, 32, 32, 3), dtype=torch.uint8)
    files = export.write_stages(stages, images[:2], tmp_path)
    export.require_parity(export.stage_parity(stages, files, images.numpy()))
    state: export.Arrays = {"image": images.numpy()}
    for file in files:
        state |= export.run(export.session(file), state)
    mixtures = {name: shares for name, shares in state.items() if name.startswith("mixture")}
    assert set(mixtures) == {f"mixture{layer}" for layer in range(1, 9)}
    for shares in mixtures.values():
        assert shares.shape == (7, 3)
        assert np.allclose(shares.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(state["logits"], net(images)[-1].detach().numpy(), atol=export.TOLERANCE)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the tracing exporter, as in models/export.py
def test_mixing_and_the_product_with_a_mixed_kernel_are_both_counted(mixed: MixedPointwise, tmp_path: Path) -> None:
    class Mixing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = folded(mixed)

        def forward(self, x: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
            return self.layer(x, shares)  # type: ignore[no-any-return]

    file, names = tmp_path / "mixed.onnx", ("x", "shares")
    torch.onnx.export(
        Mixing().eval(),
        (torch.randn(2, 5, 4, 4), torch.rand(2, 4)),
        str(file),
        dynamo=False,
        opset_version=18,
        input_names=list(names),
        output_names=["y"],
        dynamic_axes={name: {0: "rows"} for name in (*names, "y")},
    )
    # Four experts of 3 x 5 mixed, then one product of 3 x 5 at each of 16 pixels; whatever the number of rows.
    assert macs_per_row(onnx.load(file)) == 4 * 3 * 5 + 3 * 5 * 16
