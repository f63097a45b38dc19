"""How a reader's gate learns when to look again, and how closely: by trying, with the reader itself left as it is.

Skip-RNN (ICLR 2018) trains its gate straight through the rounding, which hardly spreads its steps; here the walk's own
rule is tried with a little noise on the gate, and what brought more than other tries on the same text is made likelier
(REINFORCE, Williams 1992, with the mean of the other tries as baseline). First the step alone, no look in part allowed:
a cheap look would always be preferred to none, and no step would be learned. Then how closely, with the step as it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.nets.reader import Reader
from models.nets.reader_stages import Ways, features
from models.training.ways import Told

NOISE = 0.5
"""Spread of what is tried about the gate's own logits."""
KNOBS = (0.5, 2.0)
"""Each batch tries a knob from this range, at a price of looks that rises with its root: one gate serves them all."""
TRIES, BATCH = 4, 256
SKIM_COST, SKIM_SHARE = 0.2, 0.5
TEMPERATURE = 1.5


@dataclass(frozen=True)
class Skipped:
    """Where walks ended: `logits` [n, classes], and how many whole looks and looks in part each took, [n]."""

    logits: Tensor
    read: Tensor
    skimmed: Tensor


@dataclass(frozen=True)
class Tried:
    """Gates met on walks: which walk, what the gate saw [m, ..], and what was done instead of its logits [m, 2]."""

    walk: Tensor
    felt: Tensor
    done: Tensor


def skip_walk(
    net: Reader,
    ways: Ways,
    data: Told,
    texts: Tensor,
    laps: int,
    *,
    knob: Tensor,
    skim_share: float,
    noise: Tensor | None = None,
    tried: list[Tried] | None = None,
) -> Skipped:
    """Walks front to back by the rule of `reader-skip`, each at its own `knob` [n].

    `noise` [2] is the spread that is added to the gate's two logits; what came of it is noted in `tried`.
    """
    cell, first, size = net.memory, data.first[texts], data.size[texts].float()
    memory = cell.read(torch.zeros(len(texts), net.shape.state), data.whole[first])
    at, read, skimmed = torch.zeros_like(size), torch.ones_like(size), torch.zeros_like(size)
    alive = torch.nonzero(size > 1).squeeze(1)
    for _ in range(laps - 1):
        if not len(alive):
            break
        here = memory[alive]
        place = torch.stack([at, size, read + skimmed], 1)[alive]
        felt = torch.cat([cell.seen(here), features(cell.logits(here), place)], 1)
        told = ways.gate_logits(felt)
        if noise is not None and tried is not None:
            told = told + noise * torch.randn(told.shape)
            tried.append(Tried(alive, felt, told))
        step, whole = torch.sigmoid(told).unbind(1)
        going = knob[alive] <= step * (place[:, 1] - 1 - place[:, 0])
        landing = at[alive] + 1 + (torch.ceil(knob[alive] / step) - 1).clamp(min=0)
        part = (whole < skim_share * knob[alive])[going]
        at[alive[going]] = landing[going]
        alive = alive[going]
        closely, briefly = alive[~part], alive[part]
        chunk = first + at.long()
        memory[closely] = cell.read(memory[closely], data.whole[chunk[closely]])
        memory[briefly] = cell.skim(memory[briefly], data.part[chunk[briefly]])
        read[closely] += 1
        skimmed[briefly] += 1
        alive = alive[at[alive] < size[alive] - 1]
    return Skipped(cell.logits(memory), read, skimmed)


def fit_gate(
    net: Reader, ways: Ways, data: Told, labels: NDArray[np.int64], *, laps: int, price: float, seed: int, rounds: int
) -> dict[str, float]:
    """Fit the step, then the depth. `price` is what a whole look costs, in probability of the true class.

    Returns the mean looks of the last tenth of the rounds.
    """
    goal, looks = torch.from_numpy(labels), {"read": 0.0, "skimmed": 0.0}
    for column, part in enumerate((ways.step, ways.depth)):
        torch.manual_seed(seed + column)
        noise = torch.zeros(2)
        noise[column] = NOISE
        optimiser = torch.optim.Adam(part.parameters(), lr=3e-3)
        for step in range(rounds):
            for group in optimiser.param_groups:
                group["lr"] = 3e-3 * min(1.0, 2 * (1 - step / rounds))
            loss, found = _tries(net, ways, data, goal, laps=laps, price=price, noise=noise, column=column)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(part.parameters(), 1.0)
            optimiser.step()
        looks = {"read": float(found.read.mean()), "skimmed": float(found.skimmed.mean())}
    return looks


def _tries(
    net: Reader, ways: Ways, data: Told, goal: Tensor, *, laps: int, price: float, noise: Tensor, column: int
) -> tuple[Tensor, Skipped]:
    """A batch of tries: the loss whose gradient makes the better ones likelier, and where they ended."""
    texts = torch.randint(len(goal), (BATCH,)).repeat(TRIES)
    low, high = np.log(KNOBS)
    knob = torch.empty(BATCH).uniform_(low, high).exp().repeat(TRIES)
    tried: list[Tried] = []
    with torch.no_grad():
        share = SKIM_SHARE if column else 0.0
        found = skip_walk(net, ways, data, texts, laps, knob=knob, skim_share=share, noise=noise, tried=tried)
        right = functional.softmax(found.logits / TEMPERATURE, 1).gather(1, goal[texts].unsqueeze(1)).squeeze(1)
        gained = right - price * knob.sqrt() * (found.read + SKIM_COST * found.skimmed)
        ahead = gained - gained.view(TRIES, BATCH).mean(0).repeat(TRIES)
        ahead = ahead / ahead.std().clamp(min=1e-6)
    walk, felt, done = (torch.cat(each) for each in zip(*_fields(tried), strict=True))
    own = ways.gate_logits(felt)[:, column]
    likelihood = -(done[:, column] - own).square() / (2 * NOISE**2)
    # The second term keeps logits where the noise still reaches both sides of a decision.
    return -(ahead[walk] * likelihood).sum() / len(texts) + 1e-3 * own.square().mean(), found


def _fields(tried: list[Tried]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    for each in tried:
        yield each.walk, each.felt, each.done
