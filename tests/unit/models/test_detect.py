"""The detector: things from maps, peaks of heats, boxes that move, and what counts as found."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.data.boxes import average_precision, boxes, components
from models.nets.detect import PROPOSALS, TOLD, changes, looks, moved, peaks
from models.nets.detect_stages import MergeStage, alone
from models.training.detect import Targets, crops, wanted


def picture() -> np.ndarray:
    """A car, a pedestrian that touches it by a corner only, and a speck."""
    mask = np.zeros((36, 48), np.uint8)
    mask[4:16, 4:20] = 8
    mask[16:30, 20:24] = 9
    mask[33, 40] = 8
    return mask


def test_connected_parts_are_found_whole() -> None:
    ring = np.zeros((9, 9), bool)
    ring[1:8, 1:8] = True
    ring[3:6, 3:6] = False
    ring[4, 4] = True
    assert sorted(components(ring)) == [(1, 1, 8, 8, 40), (4, 4, 5, 5, 1)]
    assert components(np.eye(4, dtype=bool)) == [(0, 0, 4, 4, 4)], "corners touch"


def test_small_things_dont_count() -> None:
    found = boxes(picture(), (8, 9), least_area=20, least_height=8)
    assert found[:, 0].tolist() == [0, 1]
    assert found[0, 2:].tolist() == pytest.approx([4 / 36, 4 / 48, 16 / 36, 20 / 48])


def test_targets_lead_back_to_the_things() -> None:
    things = boxes(picture(), (8, 9), least_area=20, least_height=8)
    goal = Targets.of([things])
    assert int(goal.centre.sum()) == 2
    heat = torch.logit(goal.heat.clamp(1e-4, 1 - 1e-4))
    proposals, told = peaks(heat, goal.shape, torch.zeros(1, 59, 45, 60))
    assert proposals.shape == (1, PROPOSALS, 6)
    assert told.shape == (1, PROPOSALS, TOLD)
    best = proposals[0, :2]
    order = best[:, 0].argsort()
    assert torch.allclose(best[order][:, 2:], torch.from_numpy(things[:, 2:]), atol=1e-4)


def test_boxes_move_onto_their_things() -> None:
    edges, goal = torch.tensor([[0.1, 0.1, 0.3, 0.2]]), torch.tensor([[0.15, 0.1, 0.35, 0.25]])
    assert torch.allclose(moved(edges, changes(edges, goal)), goal, atol=1e-6)
    label, change = wanted(edges, np.array([[2, 1.0, 0.1, 0.1, 0.3, 0.21]], np.float32))
    assert label.tolist() == [3]
    assert torch.allclose(moved(edges, change), torch.tensor([[0.1, 0.1, 0.3, 0.21]]), atol=1e-6)
    assert wanted(edges, np.zeros((0, 6), np.float32))[0].tolist() == [0]


def test_a_look_is_wider_than_its_box_and_within_the_frame() -> None:
    wide = looks(torch.tensor([[0.4, 0.4, 0.6, 0.6], [0.0, 0.0, 0.01, 0.01]]))
    assert wide[0].tolist() == pytest.approx([0.35, 0.35, 0.65, 0.65], abs=1e-3)
    assert wide[1].min() >= 0
    shown = crops(np.zeros((360, 480, 3), np.uint8), wide.numpy())
    assert shown.shape == (2, 64, 64, 3)


def test_of_two_boxes_on_one_thing_the_likelier_stays() -> None:
    answer = torch.tensor([[[0, 0.9, 0.1, 0.1, 0.3, 0.3], [0, 0.8, 0.1, 0.1, 0.3, 0.31], [1, 0.7, 0.1, 0.1, 0.3, 0.3]]])
    assert alone(answer)[0, :, 1].tolist() == pytest.approx([0.9, 0.0, 0.7])


def test_proposals_that_werent_looked_at_stay_as_they_were() -> None:
    proposals = torch.zeros(1, PROPOSALS, 6)
    proposals[..., 1], proposals[..., 4:] = -3.0, 0.2
    found = torch.zeros(1, PROPOSALS, 9)
    found[0, 1] = torch.tensor([0, 0, 8.0, 0, 0, 0, 0, 0, 1])
    _, answer = MergeStage(1.0, 0.0, 1.0)(proposals, found)
    assert answer[0, 1, 0] == 1
    assert answer[0, 1, 1] > 0.99
    assert answer[0, 2, 1] < 0.05


def test_average_precision_by_hand() -> None:
    truth = np.array([[0, 1, 0, 0, 0.5, 0.5], [0, 1, 0.5, 0.5, 1, 1]], np.float32)
    right, wrong = (0, 0.9, 0, 0, 0.5, 0.5), (0, 0.8, 0, 0.6, 0.2, 0.9)
    late = (0, 0.7, 0.5, 0.5, 1, 1)
    answers = [np.array([right, wrong, late], np.float32)]
    assert average_precision(answers, [truth], 0, 0.5) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert average_precision(answers, [truth], 1, 0.5) == 0.0
