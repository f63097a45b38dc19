"""A bag of hashed n-grams with one hidden layer (fastText, Joulin et al., EACL 2017)."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from service.media.ngrams import hashed_ngrams

Labels = NDArray[np.int64] | NDArray[np.float32]


class Bag(nn.Module):
    """Mean of the vectors of the n-grams that a text has, then a linear layer."""

    def __init__(self, buckets: int, width: int, classes: int) -> None:
        super().__init__()
        self.table = nn.Embedding(buckets + 1, width, padding_idx=0)
        nn.init.normal_(self.table.weight, std=0.1)
        self.linear = nn.Linear(width, classes)

    def forward(self, ids: Tensor) -> Tensor:
        """int [b, count], 0 = padding, to logits [b, classes]."""
        there = (ids > 0).float().unsqueeze(-1)
        vectors: Tensor = self.table(ids)
        # Over the root of their number: a long text may be surer than a short one.
        pooled = (vectors * there).sum(1) / there.sum(1).clamp(min=1).sqrt()
        logits: Tensor = self.linear(pooled)
        return logits


def hashed(texts: Sequence[str], count: int, buckets: int) -> NDArray[np.int32]:
    """The `ngrams` glimpse of every text, int32 [n, count]."""
    return np.stack([hashed_ngrams(text, count, buckets) for text in texts])


def fit(
    bag: Bag, texts: Sequence[str], labels: Labels, count: int, *, epochs: int, lr: float, seed: int, batch: int = 64
) -> Bag:
    """Train in place by Adam with sparse gradients; n-grams are dropped at random, so that none is relied on alone.

    `labels` are a class each, int64 [n], or how likely each class is, float32 [n, classes].
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.from_numpy(hashed(texts, count, bag.table.num_embeddings - 1)).long()
    goals = torch.from_numpy(labels)
    bag.table.sparse = True
    sparse = torch.optim.SparseAdam([bag.table.weight], lr=lr)
    dense = torch.optim.Adam(bag.linear.parameters(), lr=lr)
    steps, step = epochs * (len(ids) // batch), 0
    for _ in range(epochs):
        for rows in torch.randperm(len(ids), generator=generator)[: len(ids) // batch * batch].split(batch):
            some = ids[rows]
            some = some * (torch.rand(some.shape, generator=generator) > 0.3)
            for group in (*sparse.param_groups, *dense.param_groups):
                group["lr"] = lr * (1 - step / steps)
            loss = nn.functional.cross_entropy(bag(some[:, : int((some > 0).any(0).nonzero().max()) + 1]), goals[rows])
            sparse.zero_grad()
            dense.zero_grad()
            loss.backward()
            sparse.step()
            dense.step()
            step += 1
    bag.table.sparse = False
    return bag
