"""The token-dropping encoder, tiny: framing, dropping, training, and graphs that compute what it computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from models import storage, token_export
from models.calibration.token_walks import Chain
from models.macs import macs_per_row
from models.nets.bag import Bag, fit, hashed
from models.nets.encoder import Encoder, Shape, framed, still_kept
from models.token_package import Reading, entries, names, zeros
from models.training.finetune import Tuning, answered, tune
from models.training.losses import ExitLoss
from service.package.stage import Stage

SHAPE = Shape(vocabulary=40, classes=2, layers=2, width=32, heads=2, inner=64, tokens=12, head=8)
READING = Reading(ngrams=8, buckets=64, tokens=12, chars=50)


@pytest.fixture(scope="module")
def net() -> Encoder:
    torch.manual_seed(0)
    made = storage.rounded(Encoder(SHAPE).eval())
    assert isinstance(made, Encoder)
    return made


@pytest.fixture(scope="module")
def bag() -> Bag:
    torch.manual_seed(1)
    made = storage.rounded(Bag(64, 4, 2).eval())
    assert isinstance(made, Bag)
    return made


@pytest.fixture(scope="module")
def seen() -> dict[str, NDArray[np.int32]]:
    """Seven texts of 0 to 10 tokens."""
    rng = np.random.default_rng(0)
    tokens, ngrams = np.zeros((7, 10), np.int32), np.zeros((7, 8), np.int32)
    for row, count in enumerate((3, 0, 10, 7, 1, 5, 9)):
        tokens[row, :count] = rng.integers(4, 40, count)
        ngrams[row, : min(count, 8)] = rng.integers(1, 65, min(count, 8))
    return {"ngrams": ngrams, "tokens": tokens}


@pytest.fixture(scope="module")
def folder(
    net: Encoder, bag: Bag, seen: dict[str, NDArray[np.int32]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    made = tmp_path_factory.mktemp("encoder")
    worst = token_export.write(bag, net, seen, made)
    assert set(worst) == {*names(SHAPE.layers), "walk"}
    return made


def chain(folder: Path) -> Chain:
    macs = {name: macs_per_row(onnx.load(folder / f"{name}.onnx")) for name in names(SHAPE.layers)}
    return Chain(folder, SHAPE.layers, macs)


def test_a_text_stands_between_its_opening_and_its_closing_token() -> None:
    ids = framed(torch.tensor([[5, 6, 0, 0], [5, 6, 7, 8], [0, 0, 0, 0]]))
    assert ids.tolist() == [[2, 5, 6, 3, 0, 0], [2, 5, 6, 7, 8, 3], [2, 3, 0, 0, 0, 0]]


def test_padding_changes_nothing(net: Encoder) -> None:
    ids = torch.tensor([[5, 6, 7]])
    short, long = net(ids), net(torch.cat([ids, torch.zeros(1, 5, dtype=torch.long)], dim=1))
    for one, other in zip(short, long, strict=True):
        torch.testing.assert_close(one, other)


def test_what_was_dropped_may_hold_anything(net: Encoder) -> None:
    (layer, _), _ = net.pieces
    kept = torch.tensor([[1.0, 1.0, 0.0, 1.0]]).unsqueeze(-1)
    qkv = torch.randn(1, 4, 3 * SHAPE.width)
    spoilt = qkv.clone()
    spoilt[0, 2] = float("nan")
    mixed, received = layer.attend(spoilt, kept)
    expected, _ = layer.attend(qkv[:, [0, 1, 3]], kept[:, [0, 1, 3]])
    torch.testing.assert_close(mixed[:, [0, 1, 3]], expected)
    assert received[0, 2] == -1
    # Attention that is received is on average that of an even share.
    torch.testing.assert_close(received[0, [0, 1, 3]].mean(), torch.tensor(1.0))


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_an_earlier_exit_teaches_the_layers_by_its_share(net: Encoder, share: float) -> None:
    def gradient(share: float) -> torch.Tensor:
        net.zero_grad()
        net(torch.tensor([[5, 6, 7]]), share=share)[0].sum().backward()
        (layer, head), _ = net.pieces
        assert head.hidden.weight.grad is not None
        assert head.hidden.weight.grad.abs().max() > 0
        return torch.zeros_like(layer.narrow.weight) if (found := layer.narrow.weight.grad) is None else found.clone()

    whole, part = gradient(1.0), gradient(share)
    net.zero_grad()
    assert whole.abs().max() > 0
    torch.testing.assert_close(part, share * whole)


def test_the_first_token_is_never_dropped() -> None:
    received = torch.tensor([[0.1, 2.0, 0.5, -1.0]])
    assert still_kept(received, 0.6).tolist() == [[1, 1, 0, 0]]
    assert still_kept(received, 0.0).tolist() == [[1, 1, 1, 0]]


def test_walks_over_the_graphs_answer_as_the_network_does(
    net: Encoder, bag: Bag, seen: dict[str, NDArray[np.int32]], folder: Path
) -> None:
    for drop in (0.0, 0.9):
        told = chain(folder).answers(seen["ngrams"], seen["tokens"], drop)
        with torch.no_grad():
            own = [bag(torch.from_numpy(seen["ngrams"])), *net(torch.from_numpy(seen["tokens"]), drop)]
        np.testing.assert_allclose(told.logits, torch.stack(own).numpy(), atol=1e-4)


def test_dropping_saves_what_the_dropped_tokens_cost(seen: dict[str, NDArray[np.int32]], folder: Path) -> None:
    found = chain(folder)
    plain, dropped = (found.answers(seen["ngrams"], seen["tokens"], drop) for drop in (0.0, 0.9))
    assert (plain.tokens[0] == (seen["tokens"] > 0).sum(axis=1) + 2).all()
    assert (plain.tokens[1:] == plain.tokens[0]).all()
    assert (np.diff(dropped.tokens, axis=0) <= 0).all()
    per_token = found.macs["transform1"] + found.macs["project2"] + found.macs["transform2"]
    lost = (plain.tokens[1] - dropped.tokens[1]) * (found.macs["transform1"] + found.macs["project2"])
    lost = lost + (plain.tokens[2] - dropped.tokens[2]) * found.macs["transform2"]
    assert (plain.macs[-1] - dropped.macs[-1] == lost).all()
    assert per_token > found.macs["attend1"] / SHAPE.tokens


def test_streaks_count_exits_that_agree(seen: dict[str, NDArray[np.int32]], folder: Path) -> None:
    told = chain(folder).answers(seen["ngrams"], seen["tokens"], 0.0)
    said = told.logits.argmax(axis=2)
    assert (told.streak[0] == 1).all()
    for place in (1, 2):
        expected = np.where(said[place] == said[place - 1], told.streak[place - 1] + 1, 1)
        assert (told.streak[place] == expected).all()


def test_only_the_first_axis_of_a_port_is_open(folder: Path) -> None:
    for name in names(SHAPE.layers):
        graph = onnx.load(folder / f"{name}.onnx").graph
        for port in (*graph.input, *graph.output):
            axes = port.type.tensor_type.shape.dim
            assert [axis.HasField("dim_value") for axis in axes] == [False, *[True] * (len(axes) - 1)], port.name


def test_entries_are_stages_of_a_manifest(folder: Path) -> None:
    made = [Stage.model_validate(entry) for entry in entries(folder, SHAPE.layers, READING)]
    assert [stage.name for stage in made] == names(SHAPE.layers)
    assert [stage.exit for stage in made if stage.exit] == ["bag", "layer1", "layer2"]
    assert {stage.name for stage in made if stage.ragged} == {"project1", "transform1", "project2", "transform2"}
    transform = made[names(SHAPE.layers).index("transform1")]
    assert transform.writes_rows == {"h_next": "h", "kept1": "kept1"}
    assert zeros(2) == ("kept1", "kept2")


def test_tuning_learns() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    ids = np.zeros((64, 10), np.int32)
    ids[:, :5] = rng.integers(6, 40, (64, 5))
    labels = rng.integers(0, 2, 64)
    ids[:, 2] = 4 + labels
    small = Encoder(SHAPE)
    plan = Tuning(epochs=9, lr=5e-3, loss=ExitLoss(distillation=0.5), batch=16, pruning=0.3)
    tune(small, ids, labels, plan)
    assert (answered(small, ids)[-1].argmax(axis=1) == labels).mean() > 0.9


def test_tuning_learns_from_how_likely_each_class_is() -> None:
    torch.manual_seed(0)
    ids = np.tile(np.array([[4, 9, 0], [5, 9, 8]], np.int32), (16, 1))
    likely = np.tile(np.array([[0.8, 0.2], [0.3, 0.7]], np.float32), (16, 1))
    small = Encoder(SHAPE)
    tune(small, ids, likely, Tuning(epochs=60, lr=5e-3, loss=ExitLoss(distillation=0.0), batch=16))
    found = torch.from_numpy(answered(small, ids)[-1]).softmax(1).numpy()
    np.testing.assert_allclose(found, likely, atol=0.1)


def test_a_bag_learns_which_words_matter() -> None:
    good, bad = "a good film", "a bad film"
    torch.manual_seed(0)
    made = fit(Bag(256, 4, 2), (good, bad) * 40, np.array([1, 0] * 40), 8, epochs=10, lr=0.05, seed=0, batch=8)
    said = made(torch.from_numpy(hashed(("good", "bad"), 8, 256)).long()).argmax(dim=1)
    assert said.tolist() == [1, 0]
