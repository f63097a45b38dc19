"""Tables for routers that stop reading when going on stops paying (service/routing/moments.py)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration.gain_maps import expected_correctness, fit_gain_maps
from models.calibration.temperature import fit_temperature
from models.calibration.walks import ExitAnswers
from service.routing.early_exit import softmax

BINS = 6
"""Score bins: some hundred clips fill no more."""


def stop_tables(
    logits: NDArray[np.float32],
    labels: NDArray[np.integer],
    exit_macs: NDArray[np.int64],
    told: NDArray[np.float32] | None = None,
) -> dict[str, NDArray[Any]]:
    """`temperature`, `gain_edges`, `gain` and `exit_macs` from what every exit said on the walk that skips nothing.

    Args:
        logits: [K, n, classes], of walks that no part of the network was trained on.
        labels: int [n].
        exit_macs: int64 [K].
        told: what the gain maps are read at, float32 [n, K], if not the answer's own score.
    """
    temperature = np.array([fit_temperature(each, labels) for each in logits], np.float32)
    answers = ExitAnswers.of(logits, temperature, labels)
    last = softmax(logits[-1] / temperature[-1])
    right = expected_correctness(last, answers.predictions)
    maps = fit_gain_maps(answers.scores if told is None else told, right, BINS)
    return {"temperature": temperature, "gain_edges": maps.edges, "gain": maps.gain, "exit_macs": exit_macs}
