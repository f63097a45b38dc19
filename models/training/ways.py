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
    """Random walks from the last chunk in which at every state every jump is tried: the gain is that of the true
    class's probability."""
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
    size = data.size.float().unsqueeze(1)
    at = size - 1
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
