"""Boxes: what counts as answered, which boxes are one thing, and 1 - F1 as the loss."""

import numpy as np
import pytest
from numpy.typing import NDArray

from service.task.detection import Detection, matched, overlap

LABELS = ("car", "pedestrian")
TASK = Detection()


def boxes(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, 6)


CAR = (0, 0.9, 0.1, 0.1, 0.3, 0.3)
NEAR = (0, 0.8, 0.1, 0.12, 0.3, 0.32)
OTHER = (1, 0.7, 0.1, 0.1, 0.3, 0.3)
UNSURE = (0, 0.3, 0.6, 0.6, 0.8, 0.8)


def test_the_document_has_the_boxes_that_count_likeliest_first() -> None:
    shown = TASK.document(boxes(OTHER, UNSURE, CAR), LABELS, "runs")
    assert [one["label"] for one in shown["boxes"]] == ["car", "pedestrian"]
    assert shown["boxes"][0]["box"] == [0.1, 0.1, 0.3, 0.3]
    assert TASK.headline(shown) == "1 car, 1 pedestrian"
    assert TASK.headline(TASK.document(boxes(UNSURE), LABELS, "runs")) == "nothing"


@pytest.mark.parametrize(
    ("one", "other", "loss"),
    [
        (boxes(CAR), boxes(CAR), 0.0),
        (boxes(CAR), boxes(NEAR), 0.0),
        (boxes(CAR), boxes(OTHER), 1.0),
        (boxes(CAR), boxes(UNSURE), 1.0),
        (boxes(CAR, OTHER), boxes(CAR), 1 - 2 / 3),
        (boxes(CAR, NEAR), boxes(CAR), 1 - 2 / 3),
        (boxes(UNSURE), boxes(), 0.0),
    ],
)
def test_the_loss_is_what_f1_lacks_to_1(one: NDArray[np.float32], other: NDArray[np.float32], loss: float) -> None:
    assert TASK.loss(TASK.kept(one), TASK.kept(other)) == pytest.approx(loss)
    assert TASK.loss(TASK.kept(other), TASK.kept(one)) == pytest.approx(loss)


def test_overlap_is_intersection_over_union() -> None:
    half = overlap(boxes(CAR)[:, 2:], boxes((0, 1, 0.1, 0.2, 0.3, 0.4))[:, 2:])
    assert half[0, 0] == pytest.approx(1 / 3)
    assert matched(boxes(), boxes(CAR)) == 0


def test_tensors_are_labels_probabilities_and_boxes() -> None:
    answers = np.stack([boxes(CAR, OTHER)] * 3)
    shapes = [np.asarray(TASK.tensor(column.name, answers, LABELS)).shape for column in TASK.columns(2)]
    assert shapes == [(3, 2), (3, 2), (3, 2, 4)]
