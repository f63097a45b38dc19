"""Networks that skip: what skipping leaves, what halting weighs, and graphs that walk as the network does."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from models import export, package
from models.calibration import fixed
from models.calibration.traverse import Stages
from models.macs import macs_per_row
from models.nets.fold import folded
from models.nets.multi_exit import Widths
from models.nets.pretrained import early_exit_net
from models.nets.residual import BLOCKS, COUNT, Backbone, Standing, grown
from models.nets.skip_stages import skip_stages
from models.nets.skipping import CLASSES_SEEN, WAYS, Halting, Policy, Pricing, SkipNet, Terms, Way, accumulated, seen
from models.recipes.skipping import drafted, entries, walk_parity
from models.training.worth import SHARPENED, Ways, costs, expected, explore, learn, values

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
    policy, halting = made.eval().ways["policy"], made.ways["halting"]
    assert isinstance(policy, Policy)
    assert isinstance(halting, Halting)
    with torch.no_grad():
        begun = made.backbone.begin(made.backbone.open(torch.from_numpy(IMAGES)))
        for decider in (policy.decider, halting.of(0)[0]):
            decider.out.bias -= decider(seen(begun)).mean(0)
    return made


def walked(net: SkipNet, way: str, threshold: float) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return net.walk(way, torch.from_numpy(IMAGES), Terms(torch.full((len(IMAGES),), threshold)))


@ALL
def test_above_1_no_block_runs_and_maps_stay_as_they_were(net: SkipNet, way: str) -> None:
    logits, ran = walked(net, way, 2.0)
    with torch.no_grad():
        plain = net.plain(net.backbone.open(torch.from_numpy(IMAGES)), [0.0] * COUNT)
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


def test_a_halted_group_gives_the_mean_of_what_stood_with_weights_that_sum_to_1(net: SkipNet) -> None:
    halting, group = net.ways["halting"], len(BLOCKS) - 1
    assert isinstance(halting, Halting)
    begun = Standing(torch.randn(5, 16, 7, 7), torch.randn(5, 10))
    opened = net.backbone.open(torch.from_numpy(IMAGES[:5]))
    blocks = net.backbone.blocks(group, opened)
    with torch.no_grad():
        given = halting.through(Terms(torch.zeros(5)))(group, begun, blocks)
        stood, scores, halted = [begun], [], torch.zeros(5, 1)
        for block, score in zip(blocks, halting.of(group), strict=True):
            total = accumulated(halted, score(seen(stood[-1])))
            scores.append(total - halted)
            halted = total
            stood.append(stood[-1].plus(block(stood[-1].map)))
        weights = torch.cat([*scores, 1 - halted], dim=1)
    assert torch.allclose(weights.sum(dim=1), torch.ones(5))
    assert (weights >= 0).all()
    votes = sum(weight[:, None] * each.votes for weight, each in zip(weights.T, stood, strict=True))
    mean = sum(weight[:, None, None, None] * each.map for weight, each in zip(weights.T, stood, strict=True))
    assert torch.allclose(given.votes, torch.as_tensor(votes), atol=1e-5)
    assert torch.allclose(given.map, torch.as_tensor(mean), atol=1e-5)


def test_grown_it_stands_where_the_early_exit_network_stands() -> None:
    """Its votes are then the sum of the first three exits'."""
    torch.manual_seed(0)
    backbone = grown(early_exit_net()).eval()
    image = torch.from_numpy(IMAGES)
    with torch.no_grad():
        votes = SkipNet(backbone, []).plain(backbone.open(image), [1.0] * COUNT)
        exits = early_exit_net().eval()(image)
    assert torch.allclose(votes, exits[0] + exits[1] + exits[2], atol=1e-3)


def test_thresholds_rise_with_prices() -> None:
    thresholds, prices = Pricing(least=0.1, most=10.0).draw(100)
    order = prices.argsort()
    assert (thresholds[order].diff() >= 0).all()
    assert 0.1 <= float(prices.min()) < float(prices.max()) <= 10.0


def test_shares_are_those_of_the_exported_graphs(net: SkipNet, tmp_path: Path) -> None:
    stages = skip_stages(net, "gate")
    files = export.write_stages(stages, torch.from_numpy(IMAGES[:2]), tmp_path)
    macs = {stage.name: macs_per_row(onnx.load(file)) for stage, file in zip(stages, files, strict=True)}
    counted = torch.tensor([macs[f"block{number}"] for number in range(1, COUNT + 1)]) / sum(macs.values())
    assert torch.allclose(net.backbone.shares(), counted, atol=0.01)


def test_a_step_walks_through_blocks_drawn_for_each_part_of_the_batch(net: SkipNet) -> None:
    image, rng = torch.from_numpy(IMAGES[:4]), np.random.default_rng(0)
    met = set()
    for _ in range(40):
        net.draw(rng)
        met.update(tuple(weight > 0 for weight in weights) for weights in net.drawn)
        assert all(0 <= weight <= 1 for weights in net.drawn for weight in weights)
    assert len(met) > 12
    made = folded(net).train()
    assert isinstance(made, SkipNet)
    made.drawn = [[1.0] * COUNT, [0.0] * COUNT]
    with torch.no_grad():
        part, whole = made(image)
        none = made.plain(made.backbone.open(image[2:]), [0.0] * COUNT)
    assert torch.allclose(part[:2], whole[:2], atol=1e-5)
    assert torch.allclose(part[2:], none, atol=1e-5)


@pytest.fixture(scope="module")
def found(net: SkipNet) -> Ways:
    return explore(net, IMAGES, np.arange(7) % 10, batch=4)


def test_every_way_is_walked_as_the_network_walks_it(net: SkipNet, found: Ways) -> None:
    for place in (0, 11, 21, 31):
        weights = [float(bit) for bit in f"{place:05b}"]
        with torch.no_grad():
            logits = net.plain(net.backbone.open(torch.from_numpy(IMAGES)), weights)
        own = (logits / SHARPENED).softmax(1)[torch.arange(7), torch.arange(7)]
        assert torch.allclose(found.sure[:, place], own, atol=0.03)


@ALL
def test_expected_ways_are_those_that_are_walked_once_decisions_are_sharp(net: SkipNet, found: Ways, way: str) -> None:
    decider = net.ways[way]
    assert isinstance(decider, Way)
    with torch.no_grad():
        told = values(decider, [each.float() for each in found.seen])
        chance = expected(told, torch.zeros(len(IMAGES)), 1e4)
    ran = walked(net, way, 0.5)[1]
    place = (ran * 2 ** torch.arange(COUNT - 1, -1, -1)).sum(1).long()
    assert torch.allclose(chance.sum(1), torch.ones(len(IMAGES)))
    # In half precision a value near the threshold may fall on its other side.
    assert (chance.argmax(1) == place).float().mean() > 0.7


@ALL
def test_deciders_learn_to_run_what_is_worth_its_price(net: SkipNet, way: str) -> None:
    """Images of one kind need the last block of the first group, the others nothing."""
    random = torch.Generator().manual_seed(0)
    needs = torch.rand(400, generator=random) < 0.5
    widths = [net.backbone.channels[group] for group, count in enumerate(BLOCKS) for _ in range(count)]
    mark = needs[:, None, None].half()
    met = [mark.expand(-1, 2**block, 2 * width + CLASSES_SEEN) for block, width in enumerate(widths)]
    last = BLOCKS[0] - 1
    runs = (torch.arange(2**COUNT) >> (COUNT - 1 - last)) & 1
    sure = torch.where(needs[:, None], runs[None] == 1, True).float()
    made = SkipNet(net.backbone, [way], Pricing(least=5.0, most=10.0))
    made.eval()
    before = made.ways[way]
    assert isinstance(before, Way)
    learn(made, way, Ways(met, sure), seed=0, steps=300, lr=0.01)
    with torch.no_grad():
        chance = expected(values(before, [each.float() for each in met]), torch.zeros(400), 1e3)
    spent = chance @ costs(net.backbone.shares())
    assert float((chance * sure).sum(1).mean()) > 0.95
    assert spent[needs].mean() > spent[~needs].mean() + 0.8 * net.backbone.shares()[last]


@pytest.mark.parametrize(("way", "ways"), [("gate", 32), ("policy", 32), ("halting", 12)])
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
    ways = fixed.possible(draft.graph)[[0, 11, -1]]
    walks = fixed.walk_all(Stages.of(draft.manifest, tmp_path), ways, IMAGES)
    assert np.array_equal(walks.routes[walks.route], np.repeat(ways[:, None], len(IMAGES), axis=1))


def test_of_fixed_ways_only_those_stay_that_no_cheaper_one_equals() -> None:
    assert fixed.best(np.array([1, 2, 2, 3, 4]), np.array([0.5, 0.6, 0.7, 0.7, 0.8])) == [0, 2, 4]
