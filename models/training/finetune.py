"""Fine-tuning of an encoder with exits on the CPU: batches of like length, falling rates towards the first layers."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.nets.encoder import Encoder
from models.training.losses import Loss
from models.training.precision import autocast

WARM = 30
"""Steps until the rate is reached."""


@dataclass(frozen=True)
class Tuning:
    """One phase.

    Attributes:
        epochs: passes over the data; in the last 60 % of them the rate falls to 0.
        lr: of the exits and the last layer; each layer before has `decay` times its follower's.
        share: of the earlier exits' gradients goes into the layers (models/nets/encoder.py).
        pruning: share of the batches in which tokens are dropped, each text by a threshold drawn from 0..`deepest`.
    """

    epochs: float
    lr: float
    loss: Loss
    share: float = 0.0
    decay: float = 0.9
    batch: int = 32
    weight_decay: float = 0.01
    pruning: float = 0.0
    deepest: float = 0.4
    seed: int = 0


def tune(net: Encoder, ids: NDArray[np.int32], labels: NDArray[np.int64] | NDArray[np.float32], plan: Tuning) -> None:
    """Train in place.

    Args:
        net: the encoder; its vectors of words stay as they are.
        ids: of the texts' tokens, [n, tokens].
        labels: a class each, int64 [n], or how likely each class is, float32 [n, classes].
        plan: the phase.
    """
    start, rng = time.perf_counter(), np.random.default_rng(plan.seed)
    torch.manual_seed(plan.seed)
    # Rows of words that a small set has not are never met, and 3 million more numbers would cost a fifth of a step.
    net.embed.words.requires_grad_(False)
    optimizer = torch.optim.AdamW(_groups(net, plan), weight_decay=plan.weight_decay, fused=True)
    rates = [group["lr"] for group in optimizer.param_groups]
    steps = int(plan.epochs * len(ids) / plan.batch)
    net.train()
    for step, rows in zip(range(steps), _batches((ids > 0).sum(1), plan.batch, rng), strict=False):
        # A short warm-up, the full rate, then down to 0.
        at = min((step + 1) / WARM, (1 - step / steps) / 0.6)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min(at, 1.0)
        some = torch.from_numpy(ids[rows, : int((ids[rows] > 0).sum(1).max())])
        with autocast():
            answers = net(some, _thresholds(len(rows), plan, rng), plan.share)
        loss = plan.loss(answers, torch.from_numpy(labels[rows]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 0:
            cpu = f"{time.perf_counter() - start:.0f} s, {time.process_time():.0f} of the CPU"
            print(f"step {step} of {steps}, loss {loss.item():.3f}, {cpu}", flush=True)
    net.eval()


@torch.no_grad()
def answered(net: Encoder, ids: NDArray[np.int32], threshold: float = 0.0, batch: int = 64) -> NDArray[np.float32]:
    """Logits of every exit, float32 [exits, n, classes]; texts of like length together."""
    net.eval()
    lengths = (ids > 0).sum(1)
    order = np.argsort(lengths, kind="stable")
    made = np.zeros((net.shape.layers, len(ids), net.shape.classes), np.float32)
    for start in range(0, len(ids), batch):
        rows = order[start : start + batch]
        with autocast():
            logits = net(torch.from_numpy(ids[rows, : lengths[rows].max()]), threshold)
        made[:, rows] = torch.stack(logits).numpy()
    return made


def _groups(net: Encoder, plan: Tuning) -> list[dict[str, object]]:
    groups: list[dict[str, object]] = [{"params": list(net.heads.parameters()), "lr": plan.lr}]
    for depth, part in enumerate([*reversed(list(net.layers)), net.embed]):
        learned = [weight for weight in part.parameters() if weight.requires_grad]
        groups.append({"params": learned, "lr": plan.lr * plan.decay**depth})
    return groups


def _batches(lengths: NDArray[np.int64], size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Rows of like length together, in random order, without end: padding would cost as much as words."""
    while True:
        order = np.argsort(lengths + rng.uniform(0, 4, len(lengths)), kind="stable")
        batches = np.array_split(order, max(1, len(order) // size))
        for place in rng.permutation(len(batches)):
            yield batches[place]


def _thresholds(rows: int, plan: Tuning, rng: np.random.Generator) -> Tensor | float:
    if rng.random() >= plan.pruning:
        return 0.0
    return torch.from_numpy(rng.uniform(0, plan.deepest, (rows, 1)).astype(np.float32))
