"""Compressed stages: nothing changes where nothing is lost, multiply-adds fall, states keep their shapes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from models.compress.channels import Channels
from models.compress.graphs import Graph, layers
from models.compress.layer import Layer
from models.compress.options import Options
from models.compress.package import compressed_stage
from models.compress.prune import Work
from models.compress.sessions import opened, outputs
from models.compress.walks import StageInputs
from models.export import Arrays
from models.macs import macs_by_node, macs_per_row
from tests.unit.models.compress.stages import SIDE, built, conv, inputs, model, op, stage, weights

PRUNED, FACTORED, INT8 = Options(prune=0.5), Options(low_rank=0.5), Options(quantize="int8")


def relative(wanted: Arrays, found: Arrays) -> float:
    """Root mean square of the differences, against that of what was wanted."""
    return max(float(np.sqrt(np.mean((wanted[n] - found[n]) ** 2) / np.mean(wanted[n] ** 2))) for n in wanted)


def error(whole: ModelProto, changed: ModelProto, given: StageInputs) -> float:
    return relative(outputs(whole, given.before), outputs(changed, given.now))


def twofold() -> tuple[ModelProto, StageInputs]:
    """A stage in which every map has each channel twice."""
    rng = np.random.default_rng(0)
    _, own = stage(rng)
    for name, half in [("wide", 12), ("back", 8), ("head", 6)]:
        for kind in ("w", "b"):
            own[f"{name}.{kind}"][half:] = own[f"{name}.{kind}"][:half]
    x = rng.normal(size=(150, 8, SIDE, SIDE)).astype(np.float32).repeat(2, axis=0)[::2]
    given = {"x": np.concatenate([x, x], axis=1)}
    return built(own), StageInputs(given, given)


def test_channels_that_say_nothing_new_can_go() -> None:
    whole, given = twofold()
    changed = compressed_stage(whole, PRUNED, given)
    assert error(whole, changed, given) < 2e-3
    assert macs_per_row(changed) < 0.4 * macs_per_row(whole)


def test_maps_of_low_rank_lose_nothing() -> None:
    rng = np.random.default_rng(0)
    _, own = stage(rng)
    for name in ("wide.w", "back.w"):
        flat = own[name].reshape(len(own[name]), -1)
        own[name] = (flat[:, :6] @ rng.normal(size=(6, flat.shape[1])) / 4).astype(np.float32).reshape(own[name].shape)
    whole, given = built(own), inputs(rng)
    changed = compressed_stage(whole, FACTORED, given)
    assert error(whole, changed, given) < 2e-3
    assert macs_per_row(changed) < 0.55 * macs_per_row(whole)


@pytest.mark.parametrize("options", [PRUNED, FACTORED, Options(prune=0.25, low_rank=0.75), Options(0.25, 0.75, "int8")])
def test_multiply_adds_fall_and_ports_stay(options: Options) -> None:
    rng = np.random.default_rng(0)
    whole, _ = stage(rng)
    given = inputs(rng)
    changed = compressed_stage(whole, options, given)
    assert macs_per_row(changed) < 0.7 * macs_per_row(whole)
    before, after = (
        [
            (port.name, port.shape, port.type)
            for session in [opened(each)]
            for port in (*session.get_inputs(), *session.get_outputs())
        ]
        for each in (whole, changed)
    )
    assert before == after
    assert error(whole, changed, given) < 1.0


def test_pruning_beats_leaving_the_channels_out() -> None:
    """The refit of what remains is worth something: against zeros for the channels that went."""
    rng = np.random.default_rng(0)
    whole, own = stage(rng)
    given = inputs(rng)
    changed = compressed_stage(whole, PRUNED, given)
    least = np.argsort([np.abs(own["back.w"][:, channel]).sum() for channel in range(24)])[:12]
    own["back.w"][:, least] = 0
    assert error(whole, changed, given) < 1.5 * error(whole, built(own), given)


def test_channels_of_states_are_fixed_and_those_within_go() -> None:
    rng = np.random.default_rng(0)
    whole, _ = stage(rng)
    channels = Channels(Graph(whole))
    assert [channels.of(name).fixed for name in ("x", "y", "back", "wide", "wide.on", "head", "flat")] == [True] * 3 + [
        False
    ] * 4
    assert channels.of("flat") is channels.of("head") is channels.of("head.on")


def test_unknown_operators_fix_their_channels() -> None:
    nodes = [conv("a", "x"), op("Softmax", "soft", "a", axis=1), conv("y", "soft")]
    whole = model(
        nodes, weights(np.random.default_rng(0), a=(12, 8, 3, 3), y=(8, 12, 3, 3)), {"x": [8, 9, 9]}, {"y": [8, 9, 9]}
    )
    assert Channels(Graph(whole)).of("a").fixed


def test_depthwise_convolutions_and_gates_lose_the_same_channels() -> None:
    rng = np.random.default_rng(0)
    nodes = [
        conv("a", "x"),
        conv("deep", "a", group=16),
        op("GlobalAveragePool", "mean", "deep"),
        conv("squeeze", "mean", kernel=1),
        conv("gate", "squeeze", kernel=1),
        op("Sigmoid", "gate.on", "gate"),
        op("Mul", "gated", "deep", "gate.on"),
        conv("y", "gated"),
    ]
    own = weights(rng, a=(16, 8, 3, 3), deep=(16, 1, 3, 3), squeeze=(4, 16, 1, 1), gate=(16, 4, 1, 1), y=(8, 16, 3, 3))
    whole = model(nodes, own, {"x": [8, 9, 9]}, {"y": [8, 9, 9]})
    x = {"x": rng.normal(size=(100, 8, 9, 9)).astype(np.float32)}
    changed = compressed_stage(whole, PRUNED, StageInputs(x, x))
    shapes = Graph(changed).shapes()
    assert [shapes[name][1] for name in ("a", "deep", "gate.on", "squeeze", "gated", "y")] == [8, 8, 8, 4, 8, 8]


def test_integers_between_the_states() -> None:
    rng = np.random.default_rng(0)
    whole, _ = stage(rng)
    given = inputs(rng)
    changed = compressed_stage(whole, INT8, given)
    kinds = {node.output[0]: node.op_type for node in changed.graph.node}
    assert "QuantizeLinear" in kinds.values()
    made = {node.output[0]: node for node in changed.graph.node}
    assert (kinds["y"], kinds["logits"]) == ("Add", "Gemm"), "states and logits are as float32 as before"
    assert "x" in made["y"].input, "so is the residual path"
    assert error(whole, changed, given) < 0.05
    assert macs_per_row(changed) == macs_per_row(whole)
    assert "head" in macs_by_node(whole)


def test_a_stage_that_no_walk_reaches_stays() -> None:
    whole, _ = stage(np.random.default_rng(0))
    nothing = {"x": np.zeros((0, 16, SIDE, SIDE), np.float32)}
    assert compressed_stage(whole, PRUNED, StageInputs(nothing, nothing)) is whole


def test_nothing_moves_where_nothing_has_to() -> None:
    """A refit behind unchanged layers finds the weights that are there."""
    rng = np.random.default_rng(0)
    whole, own = stage(rng)
    work = Work(Graph(whole), Graph(whole), inputs(rng))
    for node in layers(work.now):
        work.refit(Layer.of(work.now, node, 12))
    assert all(np.allclose(work.now.weight(name), value, atol=1e-3) for name, value in own.items())
