"""The parts around the backbone that read clips: pools, peeks, gates and the agent, as stages and as graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from models import export
from models.export import GraphStage
from models.macs import macs_per_row
from models.nets import clip_ports
from models.nets.clip_agent import Mind, ScanMemory, Think
from models.nets.clips import Assemble, Pool, PoolHead, ScanShares, Scorer
from models.nets.coarse_fine import Coarse, Gate, Merge, combined
from models.nets.peek import FAR, NUMBERS, Peek, cells, distance
from models.training import clips
from models.training.clip_agent import walked

CLASSES = 9


@pytest.fixture(scope="module")
def head() -> PoolHead:
    random = torch.Generator().manual_seed(0)
    return PoolHead(torch.randn(CLASSES, 2560, generator=random) / 50, torch.zeros(CLASSES))


def stages(head: PoolHead) -> list[GraphStage]:
    mind = Mind(CLASSES)
    return [
        Pool(head),
        Assemble(head),
        Peek(2.0, 1.0),
        ScanShares(Scorer()),
        Merge(head, 0.3),
        ScanMemory(mind),
        Think(mind, head),
    ]


def test_each_stage_is_the_same_as_its_graph(head: PoolHead, tmp_path: Path) -> None:
    for stage in stages(head):
        file = tmp_path / f"{stage.name}.onnx"
        given = tuple(clip_ports.example(name, 3, CLASSES) for name in stage.ports.inputs)
        with torch.no_grad():
            export.write_stage(stage.eval(), given, file)
            made = stage(*given)
        made = made if isinstance(made, tuple) else (made,)
        told = export.run(export.session(file), {n: t.numpy() for n, t in zip(stage.ports.inputs, given, strict=True)})
        for name, tensor in zip(stage.ports.outputs, made, strict=True):
            np.testing.assert_allclose(told[name], tensor.numpy(), atol=1e-4)


def test_the_scorer_costs_less_than_a_hundredth_of_a_frame(head: PoolHead, tmp_path: Path) -> None:
    scan = ScanShares(Scorer()).eval()
    export.write_stage(scan, (clip_ports.example("thumbs", 2, CLASSES),), tmp_path / "scan.onnx")
    assert macs_per_row(onnx.load(tmp_path / "scan.onnx")) < 2_610_000


def test_pooling_lap_by_lap_is_pooling_all_at_once(head: PoolHead) -> None:
    pool, frames = Pool(head), torch.rand(2, 5, 1280)
    best, total, count = torch.zeros(2, 1280), torch.zeros(2, 1280), torch.zeros(2, 1)
    with torch.no_grad():
        for place in range(5):
            best, total, count, logits = pool(frames[:, place], best, total, count)
        torch.testing.assert_close(logits, head.over(frames), atol=1e-4, rtol=0)


def test_rows_that_were_not_picked_do_not_count(head: PoolHead) -> None:
    seen = torch.zeros(1, 16, 1280)
    seen[0, [3, 7]] = torch.rand(2, 1280) + 0.01
    with torch.no_grad():
        torch.testing.assert_close(Assemble(head)(seen), head.over(seen[:, [3, 7]]), atol=1e-4, rtol=0)


def test_a_picture_seen_before_is_near_and_the_first_one_far() -> None:
    here = cells(torch.full((1, 32, 40, 3), 200, dtype=torch.uint8))
    looked = torch.zeros(1, 16, NUMBERS + 1)
    assert float(distance(here, looked)) > FAR / 2
    looked[0, 2] = torch.cat([here[0], torch.ones(1)])
    assert float(distance(here, looked)) == pytest.approx(0.0, abs=1e-6)


def test_novelty_falls_as_pictures_come_nearer() -> None:
    peek, looked = Peek(2.0, 1.0), torch.zeros(1, 16, NUMBERS + 1)
    looked, first = peek(torch.zeros(1, 32, 40, 3, dtype=torch.uint8), looked)
    _, far = peek(torch.full((1, 32, 40, 3), 255, dtype=torch.uint8), looked)
    _, near = peek(torch.full((1, 32, 40, 3), 3, dtype=torch.uint8), looked)
    assert float(first) > float(far) > float(near)


def test_the_coarse_answer_stands_alone_until_the_fine_network_has_run() -> None:
    coarse, fine = torch.ones(2, 3), torch.full((2, 3), 5.0)
    told = combined(coarse, fine, torch.tensor([[0.0], [2.0]]), 0.3)
    assert told[:, 0].tolist() == pytest.approx([1.0, 5.3])


def test_only_the_coarse_part_of_the_state_changes_where_the_gate_is_shut() -> None:
    head = PoolHead(torch.zeros(CLASSES, 224), torch.zeros(CLASSES))
    stage = Coarse(None, head, 0.3, Gate(CLASSES))  # type: ignore[arg-type]
    assert not {"best_next", "total_next", "count_next", "f_logits"} & set(stage.ports.outputs)
    blank, none = torch.zeros(1, 112), torch.zeros(1, 1)
    best, total, count, *_ = stage.updated(-torch.ones(1, 112), blank, blank, none, torch.zeros(1, CLASSES), none)
    assert (float(best[0, 0]), float(total[0, 0]), float(count)) == (-1.0, -1.0, 1.0), "features may be negative"


def test_an_agent_looks_at_every_moment_once(head: PoolHead) -> None:
    thumbs = torch.randint(0, 256, (3, 16, 32, 40, 3), dtype=torch.uint8)
    _, settled, moments = walked(Mind(CLASSES).eval(), torch.rand(3, 16, 1280), thumbs, head)
    assert sorted(moments[:, 0].tolist()) == list(range(16))
    assert bool(((settled >= 0) & (settled <= 1)).all())


def test_folds_keep_groups_together() -> None:
    groups = np.repeat([12, 13, 14, 15, 16, 17], 4)
    fold = clips.folds(groups, 3)
    assert [len(set(fold[groups == group])) for group in np.unique(groups)] == [1] * 6
    assert sorted(set(fold.tolist())) == [0, 1, 2]


def test_a_head_learns_from_pools_of_any_size() -> None:
    random = torch.Generator().manual_seed(1)
    labels = torch.arange(60) % 3
    features = torch.rand(60, 16, 12, generator=random) / 2 + torch.nn.functional.one_hot(labels, 12)[:, None]
    head = clips.train_head(features, labels, 3, seed=1, decay=0.01)
    for count in (1, 4, 16):
        assert (head.over(features[:, :count]).argmax(dim=1) == labels).float().mean() > 0.9
