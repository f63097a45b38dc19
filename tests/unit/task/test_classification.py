"""One label: the arg max, its probability, and those behind it."""

import numpy as np

from service.task.classification import Classification

LABELS = ("red", "green", "blue")
TASK = Classification()


def test_the_document_ranks_labels() -> None:
    shown = TASK.document(np.array([0.1, 0.7, 0.2], np.float32), LABELS, "runs")
    assert (shown["label"], [one["label"] for one in shown["top"]]) == ("green", ["green", "blue", "red"])
    assert TASK.headline(shown) == "green 70.0%, blue 20.0%, red 10.0%"


def test_answers_agree_or_they_dont() -> None:
    one, other = (TASK.kept(np.array(each, np.float32)) for each in ([0.6, 0.4], [0.4, 0.6]))
    assert (TASK.loss(one, one), TASK.loss(one, other)) == (0.0, 1.0)


def test_tensors_are_labels_and_probabilities() -> None:
    answers = np.array([[0.1, 0.9, 0.0], [0.8, 0.1, 0.1]], np.float32)
    assert [column.name for column in TASK.columns(3)] == ["label", "probability"]
    assert TASK.tensor("label", answers, LABELS) == [b"green", b"red"]
    assert np.array_equal(TASK.tensor("probability", answers, LABELS), answers)
