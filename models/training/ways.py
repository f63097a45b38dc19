"""What a reader's ways learn from: what looks at held-out texts bring, with the reader itself left as it is.

Every chunk's vectors are made once; a step of the memory is then a few microseconds, so all the jumps that a state has
can be tried.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.data.chunked import Chunked
from models.nets.reader import Reader
from models.nets.reader_stages import Ways, marked
from service.routing.reader_jump import landing
from service.routing.reading import JUMPS, MARKS, unread


@dataclass(frozen=True)
class Told:
    """Vectors of n texts' chunks: `whole` [chunks, memory], `part` [chunks, part]; text i has rows `first[i]` on."""

    whole: Tensor
    part: Tensor
    first: Tensor

    @property
    def size(self) -> Tensor:
        """How many chunks each text has: int64 [n]."""
        return self.first.diff()


@torch.no_grad()
def told(net: Reader, data: Chunked, batch: int = 512) -> Told:
    """Read every chunk once."""
    net.eval()
    made = []
    for start in range(0, len(data.tokens), batch):
        tokens = torch.from_numpy(data.tokens[start : start + batch].astype(np.int64))
        made.append((net.chunks(tokens), net.chunks.part(tokens)))
    whole, part = (torch.cat(each) for each in zip(*made, strict=True))
    return Told(whole, part, torch.from_numpy(data.first))


@dataclass(frozen=True)
class Steps:
    """States met, and what each jump from them would bring: `gain` [m, jumps], NaN where it isn't possible."""

    seen: Tensor
    logits: Tensor
    place: Tensor
    gain: Tensor


@torch.no_grad()
def tried_jumps(
    net: Reader, data: Told, labels: NDArray[np.int64], *, laps: int, temperature: float, seed: int, repeats: int = 2
) -> Steps:
    """Random walks in which at every state every jump is tried: the gain is that of the true class's probability."""
    random, parts = torch.Generator().manual_seed(seed), []
    goal = torch.from_numpy(labels)
    for _ in range(repeats):
        parts += list(_walk(net, data, goal, laps, temperature, random))
    return Steps(*(torch.cat(each) for each in zip(*parts, strict=True)))


def _walk(
    net: Reader, data: Told, goal: Tensor, laps: int, temperature: float, random: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    cell = net.memory
    texts = torch.arange(len(goal))
    memory, done = torch.zeros(len(goal), net.shape.state), torch.zeros(len(goal), MARKS)
    at, size = torch.zeros(len(goal), 1), data.size.float().unsqueeze(1)
    for _ in range(laps):
        memory = cell.read(memory, data.whole[data.first[texts] + at[:, 0].long()])
        done = marked(done, at)
        left = torch.from_numpy(unread(done.numpy(), size[:, 0].numpy()))
        some = torch.nonzero(left.any(1)).squeeze(1)
        if not len(some):
            return
        texts, memory, done, at, size, left = (each[some] for each in (texts, memory, done, at, size, left))
        logits, true = cell.logits(memory), goal[texts].unsqueeze(1)
        now = functional.softmax(logits / temperature, 1).gather(1, true)
        gains = torch.full((len(some), len(JUMPS)), float("nan"))
        targets = torch.zeros(len(some), len(JUMPS), dtype=torch.int64)
        for way, (skipped, back) in enumerate(JUMPS):
            possible = torch.nonzero(left.sum(1) > skipped).squeeze(1)
            there = landing(left.numpy(), np.full(len(some), skipped), np.full(len(some), bool(back)))
            targets[:, way] = torch.from_numpy(there)
            chunk = data.first[texts[possible]] + targets[possible, way]
            after = cell.logits(cell.read(memory[possible], data.whole[chunk]))
            gained = functional.softmax(after / temperature, 1).gather(1, true[possible]) - now[possible]
            gains[possible, way] = gained.squeeze(1)
        yield cell.seen(memory), logits, torch.cat([at, size, done.sum(1, keepdim=True)], 1), gains
        choice = torch.where(gains.isnan(), 0.0, 1.0).multinomial(1, generator=random)
        at = targets.gather(1, choice).float()


def fit_jumps(ways: Ways, steps: Steps, *, seed: int, rounds: int = 300, batch: int = 1024) -> float:
    """Regress the gains (huber); the mean error's share of their variance that is left."""
    random = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(ways.jumps.parameters(), lr=3e-3, weight_decay=0.1)
    scale = steps.gain[~steps.gain.isnan()].std()
    for step in range(rounds):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * (1 - step / rounds)
        some = torch.randint(len(steps.gain), (batch,), generator=random)
        jumps, _ = ways(steps.seen[some], steps.logits[some], steps.place[some])
        goal = steps.gain[some]
        valid = ~goal.isnan()
        loss = functional.mse_loss(jumps[valid] / scale, goal[valid] / scale)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return loss.item()


def fit_gate(
    net: Reader, ways: Ways, data: Told, labels: NDArray[np.int64], *, laps: int, price: float, seed: int, rounds: int
) -> float:
    """Straight through both decisions (Skip-RNN): cross entropy of the last answer, plus `price` for each whole look
    and its share of MACs for a look in part; the share of chunks looked at in the last round."""
    random = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(ways.gate.parameters(), lr=3e-3)
    goal, used = torch.from_numpy(labels), 0.0
    for each in net.parameters():
        each.requires_grad_(False)
    for step in range(rounds):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * (1 - step / rounds)
        some = torch.randint(len(labels), (128,), generator=random)
        logits, cost, used = _gated(net, ways, data, some, laps)
        loss = functional.cross_entropy(logits, goal[some]) + price * cost.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return used


SKIM_COST = 0.2


def _gated(net: Reader, ways: Ways, data: Told, texts: Tensor, laps: int) -> tuple[Tensor, Tensor, float]:
    cell, first = net.memory, data.first[texts]
    size = data.size[texts].float().unsqueeze(1)
    memory = cell.read(torch.zeros(len(texts), net.shape.state), data.whole[first])
    at, read = torch.zeros_like(size), torch.ones_like(size)
    total, cost, looked = torch.zeros_like(size), torch.zeros(len(texts)), 0.0
    gate = ways(cell.seen(memory), cell.logits(memory), torch.cat([at, size, read], 1))[1]
    for chunk in range(1, min(laps, int(size.max()))):
        there = (size > chunk).float()
        total = (total + gate[:, :1]).clamp(max=1.0)
        look = _through((total >= 1.0).float(), total) * there
        whole = _through((gate[:, 1:] >= 0.5).float(), gate[:, 1:])
        row = (first + chunk).clamp(max=len(data.whole) - 1)
        fresh = whole * cell.read(memory, data.whole[row]) + (1 - whole) * cell.skim(memory, data.part[row])
        memory = look * fresh + (1 - look) * memory
        at, read = look * chunk + (1 - look) * at, read + look
        after = ways(cell.seen(memory), cell.logits(memory), torch.cat([at, size, read], 1))[1]
        gate = look * after + (1 - look) * gate
        total = total * (1 - look)
        cost = cost + (look * (whole + SKIM_COST * (1 - whole))).squeeze(1)
        looked += float(look.detach().sum())
    return cell.logits(memory), cost, looked / max(1.0, float((size - 1).sum()))


def _through(hard: Tensor, soft: Tensor) -> Tensor:
    """A decision that passes the gradient of what it was taken from."""
    return hard + soft - soft.detach()
