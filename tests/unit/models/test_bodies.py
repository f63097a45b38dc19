"""Widths and branches grown on a trained first stage: shapes, slices, and starts that are what they were cut from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.nets import slimmable, supernet
from models.nets.bodies import BodyStage, in_order, kernels, looked, parts
from models.nets.body_stages import BodyGraph, FirstGraph
from models.nets.fold import folded
from models.nets.multi_exit import MultiExitNet
from models.nets.pretrained import early_exit_net
from models.nets.slimmable import SHARES, SlimmableNet
from models.nets.supernet import Supernet
from models.nets.value_head import ValueHead, fit

CLOSE = {"rtol": 1e-3, "atol": 1e-3}


@pytest.fixture(scope="module")
def net() -> MultiExitNet:
    return early_exit_net()


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def widths(net: MultiExitNet, images: NDArray[np.uint8]) -> SlimmableNet:
    return slimmable.grown(net, images, classes=10).eval()


@pytest.fixture(scope="module")
def branches(net: MultiExitNet, images: NDArray[np.uint8]) -> Supernet:
    known = {"animals": (2, 3, 4, 5, 6, 7), "vehicles": (0, 1, 8, 9)}
    return supernet.grown(net, known, 48, np.repeat(images, 8, axis=0), classes=10).eval()


@torch.no_grad()
def test_the_widest_starts_as_the_trained_stage(
    net: MultiExitNet, widths: SlimmableNet, images: NDArray[np.uint8]
) -> None:
    image = torch.from_numpy(images)
    first, *answers = widths(image)
    trained = net(image)
    torch.testing.assert_close(first, trained[0], **CLOSE)
    torch.testing.assert_close(answers[-1], trained[1], **CLOSE)


@torch.no_grad()
def test_every_width_is_the_first_channels_of_the_widest(widths: SlimmableNet, images: NDArray[np.uint8]) -> None:
    state = looked(widths.trunk, torch.from_numpy(images))
    expected = [widths.answer(place, state) for place in range(len(SHARES))]
    cut = widths.cut()
    widest = kernels(cut[-1])
    for stage, answer in zip(cut, expected, strict=True):
        for name, kernel in kernels(stage).items():
            torch.testing.assert_close(kernel, widest[name][: len(kernel), : kernel.shape[1]])
        torch.testing.assert_close(stage.answer(state), answer, **CLOSE)
        torch.testing.assert_close(folded(stage).answer(state), answer, **CLOSE)  # type: ignore[operator]


def test_a_step_of_the_sandwich_trains_the_widest_s_kernels_only(
    widths: SlimmableNet, images: NDArray[np.uint8]
) -> None:
    widths.train()
    widths.draw(np.random.default_rng(0))
    answers = widths(torch.from_numpy(images))
    assert len(answers) == 3
    assert widths.drawn[0] == 0
    assert widths.drawn[-1] == len(SHARES) - 1
    sum(answer.sum() for answer in answers).backward()
    assert all(kernel.grad is not None for kernel in kernels(widths.width(-1)).values())
    assert all(kernel.grad is None for kernel in kernels(widths.width(0)).values())
    assert all(p.grad is None for p in widths.trunk.parameters())
    widths.eval()


def test_channels_put_in_order_make_the_same_body(net: MultiExitNet, images: NDArray[np.uint8]) -> None:
    trunk, weights = parts(net)
    state = looked(trunk, torch.from_numpy(images))
    answers = []
    for some in (weights, in_order(weights), in_order(weights, (3, 5))):
        stage = BodyStage("body", 128, 10, 0.0)
        stage.start(some, state)
        answers.append(stage.answer(state).detach())
    torch.testing.assert_close(answers[1], answers[0], **CLOSE)
    torch.testing.assert_close(answers[2], answers[0], **CLOSE)


@torch.no_grad()
def test_votes_are_carried_along_every_way(branches: Supernet, images: NDArray[np.uint8]) -> None:
    ways = branches.ways(torch.from_numpy(images))
    state = looked(branches.trunk, torch.from_numpy(images))
    animals = branches.bodies[0]
    own = animals.top(animals.body(state["fine"], state["coarse"]))
    torch.testing.assert_close(ways["trunk", "animals"], state["votes"] + own, **CLOSE)
    assert {len(way) for way in ways} == {1, 2, 3}
    assert all(answer.shape == (4, 10) for answer in ways.values())


def test_each_image_trains_the_branch_that_it_is_sent_to(branches: Supernet) -> None:
    votes = torch.full((2, 10), -9.0)
    votes[0, 3], votes[1, 8] = 9, 9
    assert branches.sent_to(votes).tolist() == [0, 1]
    branches.train()
    assert not branches.general.training
    state = {"fine": torch.randn(6, 48, 15, 15), "coarse": torch.randn(6, 96, 7, 7)}
    (logits,) = branches(state)
    assert logits.shape == (6, 10)
    branches.eval()


@torch.no_grad()
def test_graphs_give_what_their_ports_name(widths: SlimmableNet, images: NDArray[np.uint8]) -> None:
    first = FirstGraph(widths.trunk, "look", ValueHead(96, 10, 5).eval())
    made = dict(zip(first.ports.outputs, first(torch.from_numpy(images)), strict=True))
    assert list(made) == ["fine", "coarse", "votes", "value", "logits"]
    assert made["value"].shape == (4, 5)
    (logits,) = BodyGraph(widths.cut()[0])(made["fine"], made["coarse"], made["votes"])
    assert logits.shape == (4, 10)


def test_a_value_head_learns_who_is_right() -> None:
    torch.manual_seed(0)
    head = ValueHead(2, 3, 2)
    seen = torch.randn(2000, 8)
    right = torch.stack([seen[:, 0] > 0, seen[:, 1] > 0], dim=1)
    fit(head, seen, right, seed=0, steps=200)
    assert ((head.told(seen) > 0) == right).float().mean() > 0.9
