"""Networks that skip: what skipping leaves, what halting weighs, and graphs that walk as the network does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models import export, package
from models.calibration import fixed
from models.calibration.traverse import Stages
from models.nets.multi_exit import Widths
from models.nets.residual import BLOCKS, Backbone
from models.nets.skip_stages import skip_stages
from models.nets.skipping import WAYS, Halting, Pricing, SkipNet, Terms, accumulated, shares
from models.recipes.skipping import drafted, entries, walk_parity
from models.training.losses import PricedLoss

ALL = pytest.mark.parametrize("way", WAYS)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 128, (7, 32, 32, 3), dtype=np.uint8) + RNG.integers(0, 128, (7, 1, 1, 3), dtype=np.uint8)
TITLE = {"version": "1.0.0", "modality": "image", "task": "classification", "description": "A test."}


@pytest.fixture(scope="module")
def net() -> SkipNet:
    """Untrained, and with deciders that differ between images."""
    torch.manual_seed(0)
    made = SkipNet(Backbone.untrained(Widths(8, 12, 12, 16), 10), tuple(WAYS))
    for name, parameter in made.ways.named_parameters():
        if name.endswith("out.weight"):
            nn.init.normal_(parameter, std=30.0)
        if name.endswith("out.bias"):
            nn.init.zeros_(parameter)
    return made.eval()


def walked(net: SkipNet, way: str, threshold: float) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return net.walk(way, torch.from_numpy(IMAGES), Terms(torch.full((len(IMAGES),), threshold), soft=False))


@ALL
def test_above_1_no_block_runs_and_maps_stay_as_they_were(net: SkipNet, way: str) -> None:
    logits, ran = walked(net, way, 2.0)
    with torch.no_grad():
        plain = net.plain(torch.from_numpy(IMAGES), [False] * sum(BLOCKS))
    assert not ran.any()
    assert torch.allclose(logits, plain, atol=1e-5)


@pytest.mark.parametrize("way", ["gate", "policy"])
def test_at_0_every_block_runs(net: SkipNet, way: str) -> None:
    logits, ran = walked(net, way, 0.0)
    with torch.no_grad():
        (plain,) = net(torch.from_numpy(IMAGES))
    assert ran.all()
    assert torch.allclose(logits, plain, atol=1e-5)


@ALL
def test_decisions_depend_on_the_image(net: SkipNet, way: str) -> None:
    assert any(len(np.unique(walked(net, way, place)[1].numpy(), axis=0)) > 1 for place in (0.1, 0.3, 0.5, 0.7, 0.9))


def test_a_halted_group_gives_the_mean_of_its_maps_with_weights_that_sum_to_1(net: SkipNet) -> None:
    halting, group = net.ways["halting"], len(BLOCKS) - 1
    assert isinstance(halting, Halting)
    x = torch.randn(5, 16, 3, 3)
    with torch.no_grad():
        given = halting.through(net.backbone, Terms(torch.zeros(5), soft=False))(group, x)
        maps, scores, halted = [x], [], torch.zeros(5, 1)
        for block, score in zip(net.backbone.blocks(group), halting.of(group), strict=True):
            total = accumulated(halted, score(maps[-1]))
            scores.append(total - halted)
            halted = total
            maps.append(maps[-1] + block(maps[-1]))
        weights = torch.cat([*scores, 1 - halted], dim=1)
    assert torch.allclose(weights.sum(dim=1), torch.ones(5))
    assert (weights >= 0).all()
    mean = sum(weight[:, None, None, None] * map_ for weight, map_ in zip(weights.T, maps, strict=True))
    assert torch.allclose(given, torch.as_tensor(mean), atol=1e-5)


def test_in_training_decisions_are_hard_and_have_a_gradient() -> None:
    logits = torch.tensor([-2.0, 0.5, 3.0], requires_grad=True)
    runs = Terms(torch.tensor([0.0, 0.0, 4.0]), soft=True).decide(logits)
    runs.sum().backward()
    assert runs.tolist() == pytest.approx([0, 1, 0])
    assert logits.grad is not None
    assert (logits.grad > 0).all()


def test_thresholds_rise_with_prices() -> None:
    thresholds, prices = Pricing(least=0.1, most=10.0).draw(100)
    order = prices.argsort()
    assert (thresholds[order].diff() >= 0).all()
    assert 0.1 <= float(prices.min()) < float(prices.max()) <= 10.0


def test_rows_pay_for_what_they_run(net: SkipNet) -> None:
    costs = shares(net.backbone)
    assert len(costs) == sum(BLOCKS)
    assert 0 < float(costs.sum()) < 1
    logits, labels = torch.zeros(2, 10), torch.tensor([1, 2])
    free, paid = PricedLoss()([logits], labels), PricedLoss()([logits, torch.tensor([1.0, 3.0])], labels)
    assert float(paid - free) == pytest.approx(2.0)


def test_steps_take_the_ways_in_turn(net: SkipNet) -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        net.draw(rng)
        seen.add(net.way)
    assert seen == {None, *WAYS}


@pytest.mark.parametrize(("way", "ways"), [("gate", 128), ("policy", 128), ("halting", 48)])
def test_graphs_walk_as_the_network_does(net: SkipNet, way: str, ways: int, tmp_path: Path) -> None:
    stages = skip_stages(net, way)
    files = export.write_stages(stages, torch.from_numpy(IMAGES[:2]), tmp_path)
    export.require_parity(export.stage_parity(stages, files, IMAGES))
    title = package.Title(name="test", family=f"skip-{way}", router=f"skip-{way}", **TITLE)
    draft = drafted(tmp_path, title, entries(stages, tmp_path), [str(label) for label in range(10)])
    assert walk_parity(net, way, draft, IMAGES) < export.TOLERANCE
    assert len(fixed.possible(draft.graph)) == ways


def test_a_fixed_way_runs_its_blocks_for_every_image(net: SkipNet, tmp_path: Path) -> None:
    stages = skip_stages(net, "gate")
    export.write_stages(stages, torch.from_numpy(IMAGES[:2]), tmp_path)
    title = package.Title(name="test", family="skip-gate", router="skip-gate", **TITLE)
    draft = drafted(tmp_path, title, entries(stages, tmp_path), [str(label) for label in range(10)])
    ways = fixed.possible(draft.graph)[[0, 37, -1]]
    walks = fixed.walk_all(Stages.of(draft.manifest, tmp_path), ways, IMAGES)
    assert np.array_equal(walks.routes[walks.route], np.repeat(ways[:, None], len(IMAGES), axis=1))


def test_of_fixed_ways_only_those_stay_that_no_cheaper_one_equals() -> None:
    assert fixed.best(np.array([1, 2, 2, 3, 4]), np.array([0.5, 0.6, 0.7, 0.7, 0.8])) == [0, 2, 4]
