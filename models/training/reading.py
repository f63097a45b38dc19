"""Training of a reader on walks of many kinds, so that one memory serves whatever order a router reads in."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.data.chunked import Chunked
from models.nets.reader import Reader, pair

SKIP, READ, SKIM = 0, 1, 2
Order = Literal["ends", "turned", "back"]
"""First, last, then on from the front; last, first, then on from the front; last, first, then on from the back."""


@dataclass(frozen=True)
class ReadingPlan:
    """How long, how fast and on what walks. `laps` is the most chunks that a walk reads."""

    epochs: int
    laps: int
    seed: int
    batch: int = 96
    lr: float = 1.5e-3
    decay: float = 0.02
    smoothing: float = 0.05
    word_dropout: float = 0.1
    last: float = 0.5
    """Share of the loss that the walk's last answer has; the rest is the mean of all of them."""
    turned: float = 0.0
    """Share of the walks from both ends that begin with the last chunk."""


@dataclass(frozen=True)
class Walks:
    """For each text which chunk each lap reads, and how: int64 [n, laps], READ, SKIM, or SKIP once the walk is over."""

    place: NDArray[np.int64]
    how: NDArray[np.int64]


def both_ends(chunks: int, laps: int, order: Order = "ends") -> NDArray[np.int64]:
    """Chunks in the order of a full walk, at most `laps`."""
    ends = [0, chunks - 1] if order == "ends" else [chunks - 1, 0]
    inner = np.arange(1, chunks - 1)
    places = np.r_[ends, inner[::-1] if order == "back" else inner] if chunks > 1 else np.zeros(1, np.int64)
    return places[:laps].astype(np.int64)


def sample_walks(chunks: NDArray[np.int64], laps: int, random: np.random.Generator, *, turned: float = 0.0) -> Walks:
    """Walks to train on: from both ends, straight on, and with chunks left out or skimmed at random."""
    place = np.zeros((len(chunks), laps), np.int64)
    how = np.zeros((len(chunks), laps), np.int64)
    for row, size in enumerate(chunks.tolist()):
        order, kind = both_ends(size, size), random.random()
        if kind < 0.4 * turned:
            order = both_ends(size, size, "turned")
        if kind > 0.4:
            order = np.arange(size)
        if kind > 0.55:
            order = np.sort(random.permutation(size)[: max(1, round(size * random.random()))])
            if random.random() < 0.5:
                order = random.permutation(order)
        order = order[:laps]
        place[row, : len(order)] = order
        skimmed = random.random(len(order)) < (random.random() if random.random() < 0.3 else 0.0)
        how[row, : len(order)] = np.where(skimmed, SKIM, READ)
    return Walks(place, how)


class ReaderTrainer:
    """Trains a reader, keeps the last epoch in `folder`, and resumes from it."""

    def __init__(self, net: Reader, data: Chunked, labels: NDArray[np.int64], plan: ReadingPlan, folder: Path) -> None:
        self.net, self.data, self.plan = net, data, plan
        self.labels = torch.from_numpy(labels)
        tables = [net.chunks.words.weight, net.chunks.pairs.weight]
        rest = [each for each in net.parameters() if all(each is not table for table in tables)]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": tables, "lr": 1.5 * plan.lr, "weight_decay": 0.0},
                {"params": rest, "weight_decay": plan.decay},
            ],
            lr=plan.lr,
            betas=(0.9, 0.99),
            fused=True,
        )
        self.peaks = [group["lr"] for group in self.optimiser.param_groups]
        self.file = folder / "reader.pt"
        self.epoch, self.seconds = 0, 0.0
        if self.file.is_file():
            saved = torch.load(self.file, weights_only=True)
            net.load_state_dict(saved["net"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.epoch, self.seconds = saved["epoch"], saved["seconds"]

    def run(self, judge: Callable[[Reader], str]) -> Reader:
        """Train the epochs that are left; `judge` tells after each how good it is."""
        while self.epoch < self.plan.epochs:
            start = time.monotonic()
            loss = self._epoch()
            self.epoch += 1
            self.seconds += time.monotonic() - start
            saved = {"net": self.net.state_dict(), "optimiser": self.optimiser.state_dict()}
            torch.save(saved | {"epoch": self.epoch, "seconds": self.seconds}, self.file)
            print(f"epoch {self.epoch}: loss {loss:.4f}, {self.seconds:.0f} s, {judge(self.net)}", flush=True)
        return self.net.eval()

    def _epoch(self) -> float:
        random = np.random.default_rng([self.plan.seed, self.epoch])
        torch.manual_seed(self.plan.seed + self.epoch)
        self.net.train()
        rows = random.permutation(len(self.labels))
        steps = np.array_split(rows, math.ceil(len(rows) / self.plan.batch))
        walks = sample_walks(self.data.chunks, self.plan.laps, random, turned=self.plan.turned)
        total = 0.0
        for step, some in enumerate(steps):
            self._heat((self.epoch + step / len(steps)) / self.plan.epochs)
            loss = self._loss(some, walks, random)
            self.optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 0.3)
            self.optimiser.step()
            total += loss.item()
        return total / len(steps)

    def _heat(self, done: float) -> None:
        """One cycle: up for a tenth, down along a cosine."""
        share = done / 0.1 if done < 0.1 else 0.5 + 0.5 * math.cos(math.pi * (done - 0.1) / 0.9)
        for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
            group["lr"] = peak * max(share, 0.01)

    def _loss(self, rows: NDArray[np.int64], walks: Walks, random: np.random.Generator) -> Tensor:
        place, how = walks.place[rows], walks.how[rows]
        laps = int((how != SKIP).sum(1).max())
        place, how = place[:, :laps], how[:, :laps]
        tokens = self.data.tokens[(self.data.first[rows][:, None] + place)[how != SKIP]].astype(np.int64)
        dropped = (random.random(tokens.shape, np.float32) < self.plan.word_dropout) & (tokens > 0)
        tokens[dropped] = 1
        answers = walked(self.net, torch.from_numpy(tokens), torch.from_numpy(how))
        labels = self.labels[torch.from_numpy(rows)]
        valid = torch.from_numpy(how != SKIP).float()
        flat = functional.cross_entropy(
            answers.flatten(0, 1),
            labels.repeat_interleave(laps),
            reduction="none",
            label_smoothing=self.plan.smoothing,
        ).view(len(rows), laps)
        lengths = valid.sum(1)
        each = (flat * valid).sum(1) / lengths
        last = flat.gather(1, (lengths.long() - 1).unsqueeze(1)).squeeze(1)
        return (self.plan.last * last + (1 - self.plan.last) * each).mean()


def walked(net: Reader, tokens: Tensor, how: Tensor) -> Tensor:
    """Answers after every lap: [rows, laps, classes]. `tokens` int64 [looks, tokens] of those that aren't SKIP in
    `how` [rows, laps], row by row."""
    rows, laps = how.shape
    flat = how.flatten()
    whole, part = flat[flat != SKIP] == READ, flat[flat != SKIP] == SKIM
    place = torch.full((rows * laps,), -1)
    place[flat == READ] = torch.arange(int(whole.sum()))
    place[flat == SKIM] = torch.arange(int(part.sum()))
    place = place.view(rows, laps)
    told = net.chunks(tokens[whole]) if whole.any() else None
    skim = net.chunks.part(tokens[part]) if part.any() else None
    memory = torch.zeros(rows, net.shape.state)
    memories = []
    for lap in range(laps):
        fresh = memory
        for kind, vectors, update in ((READ, told, net.memory.read), (SKIM, skim, net.memory.skim)):
            chosen = torch.nonzero(how[:, lap] == kind).squeeze(1)
            if len(chosen) and vectors is not None:
                fresh = fresh.index_copy(0, chosen, update(memory[chosen], vectors[place[chosen, lap]]))
        memory = fresh
        memories.append(memory)
    return net.memory.logits(torch.stack(memories, dim=1).flatten(0, 1)).view(rows, laps, -1)


@torch.no_grad()
def answers(net: Reader, data: Chunked, walks: Walks, batch: int = 256) -> NDArray[np.float32]:
    """Logits after every lap of every walk: [n, laps, classes]; after a walk's end its last answer stands."""
    net.eval()
    made = []
    for some in np.array_split(np.arange(len(walks.how)), math.ceil(len(walks.how) / batch)):
        how = walks.how[some]
        tokens = data.tokens[(data.first[some][:, None] + walks.place[some])[how != SKIP]].astype(np.int64)
        made.append(walked(net, torch.from_numpy(tokens), torch.from_numpy(how)).numpy())
    return np.concatenate(made)


def full_walks(chunks: NDArray[np.int64], laps: int, order: Order = "ends") -> Walks:
    """From both ends, everything, at most `laps` chunks."""
    place = np.zeros((len(chunks), laps), np.int64)
    how = np.zeros((len(chunks), laps), np.int64)
    for row, size in enumerate(chunks.tolist()):
        places = both_ends(size, laps, order)
        place[row, : len(places)] = places
        how[row, : len(places)] = READ
    return Walks(place, how)


@torch.no_grad()
def informed(net: Reader, data: Chunked, labels: NDArray[np.int64], scale: float = 0.1) -> None:
    """Begin with what counting knows: the first columns of both tables are the log-odds of each word and pair by class.

    (Naive Bayes features, Wang and Manning, ACL 2012.) The first steps then learn to read them, not to make them.
    """
    classes = net.shape.classes
    of_chunk = np.repeat(labels, data.chunks)
    for table, index in (
        (net.chunks.words.weight, data.tokens.astype(np.int64)),
        (net.chunks.pairs.weight, pair(torch.from_numpy(data.tokens.astype(np.int64)), net.shape.pairs).numpy()),
    ):
        counts = np.ones((classes, len(table)))
        for label in range(classes):
            counts[label] += np.bincount(index[of_chunk == label].ravel(), minlength=len(table))
        odds = np.log(counts / counts.sum(1, keepdims=True))
        odds -= odds.mean(0)
        table[1:, :classes] = torch.from_numpy(odds.T[1:]).float() * scale
