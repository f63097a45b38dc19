"""Boxes around things, made from maps of classes: one for each connected part of a class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
"""float32 [k, 6]: label, 1, then top, left, bottom, right as shares of the picture (`service.task.detection`)."""


def boxes(mask: NDArray[np.integer], classes: Sequence[int], *, least_area: int, least_height: int) -> Boxes:
    """One box for every connected part (8 neighbours) of the classes that is large enough, in pixels.

    Parked cars that overlap in the picture are one part: such a box holds several cars.
    """
    height, width = mask.shape
    found = []
    for label, number in enumerate(classes):
        for top, left, bottom, right, area in components(mask == number):
            if area >= least_area and bottom - top >= least_height:
                found.append((label, 1.0, top / height, left / width, bottom / height, right / width))
    return np.array(found, np.float32).reshape(-1, 6)


def components(mask: NDArray[np.bool_]) -> list[tuple[int, int, int, int, int]]:
    """Top, left, bottom, right (both beyond the last pixel) and area of each connected part, 8 neighbours.

    By runs: each row's runs are joined with those of the row above that they touch.
    """
    parents: list[int] = []
    runs: list[tuple[int, int, int]] = []
    above: list[int] = []
    padded = np.pad(mask.astype(np.int8), ((0, 0), (1, 1)))
    steps = np.diff(padded, axis=1)
    for row in np.flatnonzero(mask.any(axis=1)).tolist():
        starts, ends = np.flatnonzero(steps[row] == 1).tolist(), np.flatnonzero(steps[row] == -1).tolist()
        here = []
        above = [run for run in above if runs[run][0] == row - 1]
        for start, end in zip(starts, ends, strict=True):
            number = len(runs)
            runs.append((row, start, end))
            parents.append(number)
            here.append(number)
            for other in above:
                _, first, last = runs[other]
                if first <= end and start <= last:
                    parents[_root(parents, other)] = _root(parents, number)
        above = here
    return _joined(parents, runs)


def _root(parents: list[int], number: int) -> int:
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = parents[number]
    return number


def _joined(parents: list[int], runs: list[tuple[int, int, int]]) -> list[tuple[int, int, int, int, int]]:
    found: dict[int, tuple[int, int, int, int, int]] = {}
    for number, (row, start, end) in enumerate(runs):
        root = _root(parents, number)
        top, left, bottom, right, area = found.get(root, (row, start, row + 1, end, 0))
        found[root] = (min(top, row), min(left, start), max(bottom, row + 1), max(right, end), area + end - start)
    return list(found.values())


def average_precision(
    answers: Sequence[NDArray[np.floating]], truths: Sequence[Boxes], label: int, least: float
) -> float:
    """Area under precision over recall of one label at overlap `least` (all points), over a whole split.

    `answers` hold rows label, probability, box; rows of probability 0 are none.
    """
    from service.task.detection import overlap

    rows = [
        (float(row[1]), picture, row)
        for picture, answer in enumerate(answers)
        for row in answer
        if row[1] > 0 and row[0] == label
    ]
    wanted = [truth[truth[:, 0] == label] for truth in truths]
    total, taken = sum(len(each) for each in wanted), [np.zeros(len(each), bool) for each in wanted]
    right = []
    for _, picture, row in sorted(rows, key=lambda one: -one[0]):
        close = overlap(row[None, 2:], wanted[picture][:, 2:])[0] * ~taken[picture] if len(wanted[picture]) else []
        best = int(np.argmax(close)) if len(close) else -1
        right.append(best >= 0 and close[best] >= least)
        if right[-1]:
            taken[picture][best] = True
    if not total or not right:
        return 0.0
    hits = np.cumsum(right)
    precision, recall = hits / np.arange(1, len(right) + 1), hits / total
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))
