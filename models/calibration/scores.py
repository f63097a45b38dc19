"""How good a score is: calibration error, and the ranking that matters for routing."""

import numpy as np
from numpy.typing import NDArray


def expected_calibration_error(scores: NDArray[np.floating], right: NDArray[np.bool_], bins: int = 15) -> float:
    """Mean gap between score and accuracy over `bins` equal-width bins of [0, 1] (Naeini et al., AAAI 2015)."""
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    gaps = np.bincount(place, weights=right.astype(np.float64) - scores, minlength=bins)
    return float(np.abs(gaps).sum() / max(counts.sum(), 1))


def auroc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Probability that a positive scores above a negative, ties half; nan if one of them is missing."""
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2.0)[inverse]
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def worth_going_on(right: NDArray[np.bool_], exit_place: int) -> NDArray[np.bool_]:
    """Samples that are wrong at this exit and right at some later one; `right` [n, K]."""
    later: NDArray[np.bool_] = right[:, exit_place + 1 :].any(axis=1) & ~right[:, exit_place]
    return later
