"""The tables of readers' routers, from walks of the router split (service/routing/reading.py)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from models.calibration.gain_maps import non_increasing
from models.calibration.knobs import price_knobs
from models.calibration.temperature import fit_temperature
from models.nets.reader import Reader
from models.nets.reader_stages import Ways, marked
from models.training.skips import skip_walk
from models.training.ways import Told
from service.routing.early_exit import softmax
from service.routing.reader_jump import best_jump, landing
from service.routing.reading import JUMPS, MARKS, unread

AHEAD = (1, 2, 3, 4, 6, 9, 14, 24, 64)
"""So many chunks ahead the gain of reading on is looked for."""
BINS = 24
LAPS_APART = 5
RESTS = (2, 4, 8)
KNOBS = (
    *(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0),
    *(2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 14.0, 20.0, 1e6),
)
_SKIPPED = np.array([skipped for skipped, _ in JUMPS])
_BACK = np.array([back for _, back in JUMPS], bool)


@dataclass(frozen=True)
class Answers:
    """What walks that nothing stops answer after each chunk: `logits` float32 [n, laps, classes], and `length` int64
    [n], how many chunks each reads.
    """

    logits: NDArray[np.float32]
    length: NDArray[np.int64]


def stop_tables(walks: Answers, labels: NDArray[np.int64], chunk_macs: int) -> dict[str, NDArray[np.generic]]:
    """Tables of `Stops`. Whether an answer is right is judged by the walk's last one, as for other gain maps."""
    laps = walks.logits.shape[1]
    temperature = [
        fit_temperature(_at(walks.logits, lap, walks.length), labels[walks.length > lap])
        for lap in range(min(LAPS_APART, laps) - 1)
    ]
    rest = np.minimum(walks.length, laps) - 1
    last = walks.logits[np.arange(len(rest)), rest]
    long = walks.length >= min(LAPS_APART, laps)
    temperature.append(fit_temperature(last[long], labels[long]))
    divisor = np.array([temperature[min(lap, len(temperature) - 1)] for lap in range(laps)], np.float32)
    shares = softmax((walks.logits / divisor[:, None]).reshape(-1, walks.logits.shape[2])).reshape(walks.logits.shape)
    final = shares[np.arange(len(rest)), rest]
    correct = np.take_along_axis(final, shares.argmax(axis=2), axis=1)
    edges, worths = [], []
    for low, high in _between(len(temperature), laps):
        for fewest, most in _between_rests(laps):
            found = _samples(walks.length, (low, high), (fewest, most))
            edge, worth = _worths(shares.max(axis=2), correct, walks.length, found, chunk_macs)
            edges.append(edge)
            worths.append(worth)
    return {
        "temperature": np.array(temperature, np.float32),
        "stop_edges": np.array(edges, np.float32),
        "stop_worth": np.array(worths),
        "stop_rests": np.array(RESTS, np.float32),
    }


def _at(logits: NDArray[np.float32], lap: int, length: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.asarray(logits[length > lap, lap])


def _between(groups: int, laps: int) -> list[tuple[int, int]]:
    """Laps of each group, from and to (not included), counted from 0."""
    return [(lap, lap + 1) for lap in range(groups - 1)] + [(groups - 1, laps)]


def _between_rests(laps: int) -> list[tuple[int, int]]:
    bounds = [1, *RESTS, laps + 1]
    return list(pairwise(bounds))


def _samples(
    length: NDArray[np.int64], laps: tuple[int, int], rests: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Texts and laps (from 0) of a group."""
    lap = np.arange(*laps)
    left = length[:, None] - 1 - lap
    text, place = np.nonzero((left >= rests[0]) & (left < rests[1]))
    return text, lap[place]


def _worths(
    scores: NDArray[np.float32],
    correct: NDArray[np.float32],
    length: NDArray[np.int64],
    samples: tuple[NDArray[np.int64], NDArray[np.int64]],
    chunk_macs: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges [bins + 1] and worths [bins] of one group: the best mean gain per mean GMAC over all AHEAD."""
    text, lap = samples
    if len(text) < 2 * BINS:
        return np.linspace(0, 1, BINS + 1), np.zeros(BINS)
    score = scores[text, lap]
    edges = np.quantile(score, np.linspace(0, 1, BINS + 1))
    place = np.searchsorted(edges[1:-1].astype(np.float32), score, side="right")
    counts = np.bincount(place, minlength=BINS)
    best = np.zeros(BINS)
    for ahead in AHEAD:
        there = np.minimum(lap + ahead, length[text] - 1)
        gain = np.bincount(place, correct[text, there] - correct[text, lap], BINS) / np.maximum(counts, 1)
        cost = np.bincount(place, (there - lap) * chunk_macs / 1e9, BINS) / np.maximum(counts, 1)
        falling = non_increasing(gain, counts.astype(np.float64))
        best = np.maximum(best, falling / np.where(cost > 0, cost, np.inf))
    return np.asarray(edges), np.maximum(non_increasing(best, counts.astype(np.float64)), 0.0)


@torch.no_grad()
def jump_walks(net: Reader, ways: Ways, data: Told, laps: int) -> Answers:
    """Walks from the last chunk that jump where the policy says, and that nothing stops."""
    cell, count = net.memory, len(data.size)
    size = data.size.float().unsqueeze(1)
    memory, done, at = torch.zeros(count, net.shape.state), torch.zeros(count, MARKS), size - 1
    logits = torch.zeros(count, laps, net.shape.classes)
    for lap in range(laps):
        going = torch.nonzero(size[:, 0] > lap).squeeze(1)
        chunk = data.first[:-1][going] + at[going, 0].long()
        memory[going] = cell.read(memory[going], data.whole[chunk])
        done[going] = marked(done[going], at[going])
        logits[:, lap] = cell.logits(memory)
        jumps, _ = ways(cell.seen(memory), logits[:, lap], torch.cat([at, size, done.sum(1, keepdim=True)], 1))
        left = unread(done.numpy(), size[:, 0].numpy())
        way = best_jump(jumps.numpy(), left.sum(axis=1))
        at = torch.from_numpy(landing(left, _SKIPPED[way], _BACK[way])).float().unsqueeze(1)
    return Answers(logits.numpy(), np.minimum(data.size.numpy(), laps))


@dataclass(frozen=True)
class Skimmed:
    """Walks at one knob: last `logits` [n, classes]; how many whole looks and looks in part each took, int64 [n]."""

    logits: NDArray[np.float32]
    read: NDArray[np.int64]
    skimmed: NDArray[np.int64]


@torch.no_grad()
def skip_walks(net: Reader, ways: Ways, data: Told, laps: int, *, knob: float, skim_share: float) -> Skimmed:
    """Walks front to back, by the rule of `reader-skip`."""
    count = len(data.size)
    found = skip_walk(
        net, ways, data, torch.arange(count), laps, knob=torch.full((count,), knob), skim_share=skim_share
    )
    return Skimmed(found.logits.numpy(), found.read.long().numpy(), found.skimmed.long().numpy())


def skip_tables(
    walks: Sequence[Skimmed], labels: NDArray[np.int64], macs: tuple[int, int], skim_share: float
) -> dict[str, NDArray[np.generic]]:
    """Tables of `reader-skip` from walks at each of KNOBS; `macs` of a whole look and of one in part."""
    mean = np.array([float((each.read * macs[0] + each.skimmed * macs[1]).mean()) for each in walks])
    temperature = fit_temperature(np.concatenate([each.logits for each in walks]), np.tile(labels, len(walks)))
    # What the answers claim, not how many are right: counts of a small split would leave few knobs on the hull.
    shares = [softmax(each.logits / np.float32(temperature)) for each in walks]
    right = np.array([float(share[np.arange(len(labels)), labels].mean()) for share in shares])
    # A knob that saves nothing against a lower one is none: knobs have to rise with the price.
    lowest = np.minimum.accumulate(mean)
    falls = np.flatnonzero(np.append(True, mean[1:] < lowest[:-1]))
    prices, knobs = price_knobs(np.array(KNOBS)[falls].tolist(), mean[falls], right[falls])
    return {
        "temperature": np.array([temperature], np.float32),
        "knob_prices": prices,
        "knobs": knobs,
        "skim_share": np.array([skim_share], np.float32),
    }
