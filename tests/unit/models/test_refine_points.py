"""Points of the map: which are doubtful, what they are told, where they are put."""

from __future__ import annotations

import pytest
import torch

from models.nets.refine_points import (
    EACH,
    HEIGHT,
    ROWS,
    WIDTH,
    Points,
    margins,
    packed,
    replaced,
    seen_at,
    told_at,
    unpacked,
)
from models.nets.refine_stages import PasteStage, PlaceStage

SPOTS = torch.tensor([[0, 1, WIDTH, HEIGHT * WIDTH - 1], [5, WIDTH + 1, 100, 77]])


def test_a_margin_is_what_the_likeliest_class_is_ahead() -> None:
    logits = torch.randn(2, 11, 6, 5)
    best = logits.softmax(dim=1).topk(2, dim=1).values
    assert torch.allclose(margins(logits), (best[:, 0] - best[:, 1]).flatten(1), atol=1e-6)


def test_points_are_told_of_the_map_around_them() -> None:
    logits = torch.randn(2, 11, HEIGHT, WIDTH)
    told = told_at(logits, SPOTS)
    assert told.shape == (2, 4, 9, 11)
    assert torch.equal(told[0, 2, 4], logits[0, :, 1, 0])
    assert torch.equal(told[1, 1, 0], logits[1, :, 0, 0])
    assert torch.equal(told[1, 1, 8], logits[1, :, 2, 2])
    assert torch.equal(told[0, 0, 0], logits[0, :, 0, 0]), "the edge goes on outside"


def test_points_see_the_pixels_of_the_frame_around_them() -> None:
    frame = torch.randint(0, 256, (2, 2 * HEIGHT, 2 * WIDTH, 3), dtype=torch.uint8)
    seen = seen_at(frame, SPOTS).unflatten(2, (8, 8))
    assert torch.equal(seen[1, 1, 3:5, 3:5], frame[1, 2:4, 2:4])
    assert not seen[0, 0, :3].any(), "beyond the frame there is nothing"


def test_bytes_are_packed_without_loss() -> None:
    pixels = torch.tensor([[[0, 0, 0], [255, 255, 255], [1, 2, 3], [254, 0, 129]]], dtype=torch.uint8)
    assert torch.equal(unpacked(packed(pixels)), pixels.float().flatten(1))


def test_untrained_points_are_bilinear_upsampling() -> None:
    logits = torch.randn(2, 11, HEIGHT, WIDTH)
    fine = torch.nn.functional.interpolate(logits, scale_factor=2.0, mode="bilinear", align_corners=False)
    made = Points(11)(told_at(logits, SPOTS)[0], torch.rand(4, 192) * 255)
    assert torch.allclose(made[2].unflatten(0, (2, 2)), fine[0, :, 2:4, 0:2].permute(1, 2, 0), atol=1e-5)
    assert torch.allclose(made[3].unflatten(0, (2, 2)), fine[0, :, -2:, -2:].permute(1, 2, 0), atol=1e-5)


def test_points_replace_their_four_pixels_and_no_others() -> None:
    answer = torch.randn(2, 2, 2 * HEIGHT, 2 * WIDTH)
    probability = torch.full((2, 4, 4), 0.5)
    probability[0, 1] = 0
    made = replaced(answer, SPOTS, torch.arange(32.0).view(2, 4, 4), probability)
    assert made[0, 0, 2:4, 0:2].flatten().tolist() == [8, 9, 10, 11]
    assert torch.equal(made[0, :, 0:2, 2:4], answer[0, :, 0:2, 2:4]), "it was not refined"
    assert int((made != answer).sum()) == 7 * 4 * 2


@torch.no_grad()
def test_the_most_doubtful_points_come_first_and_stay_where_they_are() -> None:
    cells, change = torch.randn(1, 11, 90, 120), torch.zeros(1, 90, 11, 20, 24)
    frame = torch.randint(0, 256, (1, 2 * HEIGHT, 2 * WIDTH, 3), dtype=torch.uint8)
    stage = PasteStage(1.0)
    made = dict(zip(stage.ports.outputs, stage(cells, change, frame), strict=True))
    doubt, spots = made["doubt_points"][0], made["spots"][0]
    assert bool((doubt[1:] <= doubt[:-1]).all())
    assert len(spots.flatten().unique()) == ROWS * EACH
    row, column = divmod(int(spots[3, 7]), WIDTH)
    middle = made["places_points"][0, 3, 14:16].tolist()
    assert middle == pytest.approx([(row + 0.5) / HEIGHT, (column + 0.5) / WIDTH])
    _, placed = PlaceStage()(made["drawn"], made["spots"], torch.zeros(1, ROWS, EACH, 8))
    assert torch.equal(placed, made["answer"]), "points that weren't refined change nothing"
