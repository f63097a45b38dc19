"""Gradients, optimiser, average, loss, loop: the parts of training, on tiny nets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.data.cifar10 import ImageSet
from models.nets.multi_exit import MultiExitNet, Widths, build
from models.training.ema import Average
from models.training.equilibrium import equilibrium_factors, scale_gradient
from models.training.loop import Plan, Trainer, schedule
from models.training.losses import ExitLoss
from models.training.muon import Muon, orthogonalise

TINY = Widths(fine=4, coarse=4, middle=4, late=4)


@pytest.fixture
def net() -> MultiExitNet:
    torch.manual_seed(0)
    return build(TINY, classes=3, early_exits=True)


def test_scaling_leaves_values_and_scales_gradients() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = scale_gradient(x, 0.25)
    y.sum().backward()
    assert torch.equal(y, x)
    assert x.grad is not None
    assert x.grad.tolist() == [0.25, 0.25]


def test_an_exit_and_what_follows_share_the_gradient() -> None:
    assert equilibrium_factors(4) == (0.25, 0.75)
    assert equilibrium_factors(1) == (1.0, 0.0)
    with pytest.raises(ValueError, match="at least 1"):
        equilibrium_factors(0)


def test_the_first_stage_sees_the_mean_over_exits(net: MultiExitNet) -> None:
    """With equilibrium the stem's gradient of a sum over exits is the mean of the single exits' gradients."""
    image = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    net.eval()
    together = stem_gradient(net, sum(logits.sum() for logits in net(image)))
    state, answers = {"image": image}, []
    for stage in net.chain():
        made, logits = unscaled(stage, state)
        state = made
        answers.append(logits.sum())
    single = stem_gradient(net, sum(answers) / len(answers))
    torch.testing.assert_close(together, single)


def unscaled(stage: nn.Module, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    made = stage.features(state)
    return made, stage.head(made[stage.outputs[-1]])


def stem_gradient(net: MultiExitNet, loss: Tensor | float) -> Tensor:
    assert isinstance(loss, Tensor)
    bias = net.stem.whiten.bias
    assert bias is not None
    (gradient,) = torch.autograd.grad(loss, bias, retain_graph=True)
    return gradient


def test_whitening_makes_patches_white(net: MultiExitNet) -> None:
    images = torch.randint(0, 256, (64, 8, 8, 3), dtype=torch.uint8)
    net.stem.fit(images)
    white = net.stem.whiten(net.stem.normalise(images))[:, :12].transpose(0, 1).flatten(1)
    torch.testing.assert_close(white @ white.T / white.shape[1], torch.eye(12), atol=5e-3, rtol=0)


@pytest.mark.parametrize("shape", [(16, 40), (40, 16)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert values.min() > 0.5
    assert values.max() < 1.5


def test_muon_keeps_the_norm_of_a_kernel() -> None:
    weight = nn.Parameter(torch.randn(8, 3, 3, 3) * 5)
    optimizer = Muon([weight], lr=0.0, momentum=0.9)
    weight.sum().backward()
    optimizer.step()
    assert weight.norm().item() == pytest.approx(8**0.5, rel=1e-5)


def test_the_average_starts_close_and_then_trails() -> None:
    source = nn.Linear(1, 1, bias=False)
    average = Average(source, decay=0.9)
    with torch.no_grad():
        source.weight.fill_(1.0)
        average.net.get_parameter("weight").fill_(0.0)
    average.update(source)
    assert average.net.get_parameter("weight").item() == pytest.approx(1 - 2 / 11)
    assert not average.net.get_parameter("weight").requires_grad


def test_the_last_exit_learns_from_labels_only() -> None:
    labels = torch.tensor([0, 1])
    answers = [torch.randn(2, 3, requires_grad=True) for _ in range(2)]
    with_teaching, without = (ExitLoss(distillation=share)(answers, labels) for share in (0.5, 0.0))
    last = [torch.autograd.grad(loss, answers[1], retain_graph=True)[0] for loss in (with_teaching, without)]
    first = [torch.autograd.grad(loss, answers[0])[0] for loss in (with_teaching, without)]
    torch.testing.assert_close(last[0], last[1])
    assert not torch.allclose(first[0], first[1])


def test_the_schedule_rises_then_falls_to_its_floor() -> None:
    plan = Plan(epochs=10, warmup=0.1, floor=0.0)
    assert schedule(0.05, plan) == pytest.approx(0.5)
    assert schedule(0.1, plan) == pytest.approx(1.0)
    assert schedule(1.0, plan) == pytest.approx(0.0)


@pytest.fixture
def data() -> ImageSet:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=48)
    images = (labels[:, None, None, None] * 80 + rng.integers(0, 40, (48, 32, 32, 3))).astype(np.uint8)
    return ImageSet(images, labels, ("a", "b", "c"))


def test_training_resumes_where_it_stopped(
    net: MultiExitNet, data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: function)
    plan = Plan(epochs=2, batch=16)
    first = Trainer(net, data, data, plan, tmp_path)
    losses = [first._run_epoch(first._loss)]
    first.epoch = 1
    first._save()
    resumed = Trainer(build(TINY, classes=3, early_exits=True), data, data, plan, tmp_path)
    assert resumed.epoch == 1
    averaged = resumed.run()
    assert averaged.exits == 5
    losses.append(first._run_epoch(first._loss))
    assert losses[1] < losses[0]
    for mine, other in zip(first.net.state_dict().values(), resumed.net.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, other)
    with pytest.raises(ValueError, match="another plan"):
        Trainer(net, data, data, replace(plan, seed=1), tmp_path)
