"""Updates that are skipped: thumbnails held against the frames seen, pools that only these enter, walks replayed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models import export
from models.calibration.clip_walks import Skips
from models.export import GraphStage
from models.nets import clip_ports
from models.nets.kept import KEPT, PeekKept, PoolKept, SpreadHead
from models.nets.peek import NUMBERS, novelty
from models.recipes.clip_recipe import price_path
from models.recipes.wagon_monitor import gently
from models.training.kept import along, by_moment, distances, skipping, train_spread_head
from service.core import CHEAPEST, FULL
from service.routing.early_exit import worth
from service.routing.moments import coarse_to_fine

CLASSES, MOMENTS = 4, 32
ORDER = coarse_to_fine(MOMENTS)


@pytest.fixture(scope="module")
def head() -> SpreadHead:
    random = torch.Generator().manual_seed(0)
    one, many = (torch.randn(CLASSES, width, generator=random) / 30 for width in (1280, 3840))
    return SpreadHead((one, torch.zeros(CLASSES)), (many, torch.zeros(CLASSES)))


@pytest.fixture(scope="module")
def thumbs() -> torch.Tensor:
    """Two clips: one hardly changes, a square moves through the other."""
    made = np.full((2, MOMENTS, 32, 40, 3), 90, np.uint8)
    made += np.random.default_rng(0).integers(0, 4, made.shape, dtype=np.uint8)
    for moment in range(MOMENTS):
        made[1, moment, 8:24, moment : moment + 9] = 250
    return torch.from_numpy(made)


def test_a_walk_is_the_same_in_torch_and_as_graphs(head: SpreadHead, thumbs: torch.Tensor, tmp_path: Path) -> None:
    stages: tuple[GraphStage, ...] = (PeekKept(2.0, 3.0), PoolKept(head))
    for stage in stages:
        given = tuple(clip_ports.example(name, 3, CLASSES) for name in stage.ports.inputs)
        export.write_stage(stage.eval(), given, tmp_path / f"{stage.name}.onnx")
    peek, pool = (export.session(tmp_path / f"{stage.name}.onnx") for stage in stages)
    features = torch.rand((2, MOMENTS, 1280), generator=torch.Generator().manual_seed(1))
    took = skipping(novelty(distances(thumbs), 2.0, 3.0), ORDER, 0.5)
    expected = along(head, features, took, ORDER)
    for clip in range(2):
        state = {name: np.zeros((1, *clip_ports.STATES[name]), np.float32) for name in stages[1].ports.inputs[2:]}
        for lap, moment in enumerate(ORDER):
            told = export.run(peek, {"thumb": thumbs[clip, moment][None].numpy(), "kept": state["kept"]})
            if not (told["novelty"][0, 0] >= 0.5 or lap in (0, MOMENTS - 1)):
                assert not took[lap, clip]
                continue
            assert took[lap, clip]
            made = export.run(pool, {"features": features[clip, moment][None].numpy(), "here": told["here"], **state})
            state = {name: made[f"{name}_next"] for name in state}
            np.testing.assert_allclose(made["logits"][0], expected[lap, clip], atol=1e-4)
    assert took[:, 0].sum() == 2, "first and last: nothing happens in between"
    assert took[:, 1].sum() > 4


def test_a_skipped_frame_leaves_no_trace(head: SpreadHead) -> None:
    features, seen = torch.rand(1, MOMENTS, 1280), torch.zeros(1, MOMENTS, dtype=torch.bool)
    seen[0, [3, 9]] = True
    torch.testing.assert_close(head.over(features, seen), head.over(features[:, [3, 9]]), atol=1e-5, rtol=0)


def test_one_frame_has_a_layer_of_its_own(head: SpreadHead) -> None:
    frame = torch.rand(1, 1280)
    expected = torch.sqrt(frame) @ head.one.weight.T + head.one.bias
    torch.testing.assert_close(head.over(frame[:, None]), expected, atol=1e-5, rtol=0)


def test_only_frames_that_were_seen_are_compared_with() -> None:
    peek, kept = PeekKept(2.0, 3.0), torch.zeros(1, KEPT, NUMBERS + 1)
    thumb = torch.full((1, 32, 40, 3), 120, dtype=torch.uint8)
    here, first = peek(thumb, kept)
    assert float(peek(thumb, kept)[1]) == float(first), "looking alone changes nothing"
    kept[:, 0] = torch.cat([here, torch.ones(1, 1)], dim=1)
    assert float(peek(thumb, kept)[1]) < float(first)


def test_a_higher_threshold_never_sees_more() -> None:
    thumbs = torch.randint(0, 256, (5, MOMENTS, 32, 40, 3), generator=torch.Generator().manual_seed(3)).to(torch.uint8)
    apart = distances(thumbs)
    counts = [skipping(apart, ORDER, float(apart.quantile(share))).sum() for share in (0.0, 0.5, 0.9, 1.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_by_moment_undoes_the_order() -> None:
    took = np.zeros((MOMENTS, 1), bool)
    took[[0, 2]] = True
    assert np.flatnonzero(by_moment(took, ORDER)[0].numpy()).tolist() == sorted((ORDER[0], ORDER[2]))


def test_a_head_learns_what_moves() -> None:
    random = torch.Generator().manual_seed(4)
    labels = torch.arange(40) % 2
    still = torch.rand((40, 1, 8), generator=random).expand(-1, MOMENTS, -1).clone()
    features = still + labels[:, None, None] * torch.rand((40, MOMENTS, 8), generator=random)
    head = train_spread_head(features, [], labels, 2, seed=0, decay=0.01)
    assert (head.over(features[:, :6]).argmax(dim=1) == labels).float().mean() > 0.95


def test_below_price_0_skips_grow_and_nothing_stops() -> None:
    rng = np.random.default_rng(5)
    labels, grid = rng.integers(0, 3, 60), np.array([0.0, 0.2, 0.4, 0.6], np.float32)
    sharp = np.eye(3, dtype=np.float32)[labels] * np.linspace(1, 4, 8, dtype=np.float32)[:, None, None]
    logits = np.stack([sharp + rng.normal(0, 0.3, sharp.shape).astype(np.float32)] * 4)
    # Settings that cost less and say the same: at price 0 the last one has the best value.
    took = rng.random((8, 60))[None] >= grid[:, None, None]
    took[:, [0, -1]] = True
    told = Skips(grid, took, np.repeat(logits[:1], 4, axis=0)).tables(labels, {"peek": 0, "see": 10**8, "pool": 10**4})
    tables = gently(told, grid)
    assert tables["knob_prices"][0] == FULL
    assert np.all(np.diff(tables["knob_prices"]) > 0)
    assert np.all(np.diff(tables["knobs"]) > 0)
    below = (tables["knob_prices"] < 0) & np.isfinite(tables["knob_prices"])
    assert below.sum() == ((grid > 0) & (grid < told["knobs"][1])).sum() > 0
    assert worth(tables["gain"], tables["exit_macs"]).min() >= 0, "so no walk stops below price 0"
    path = price_path(tables)
    assert (path[0], path[-1]) == (FULL, CHEAPEST)
    assert set(tables["knob_prices"][below]) <= set(path)
