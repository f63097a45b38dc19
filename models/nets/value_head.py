"""A small head on the first stage that tells for each option how likely its answer is to be right."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ValueHead(nn.Module):
    """`coarse` [b, channels, 7, 7] and `votes` [b, classes] to a logit of being right for each option: [b, options].

    It sees the probabilities by class, the same sorted (how sure the first stage is), and the pooled map.
    """

    def __init__(self, channels: int, classes: int, options: int, hidden: int = 64) -> None:
        super().__init__()
        inputs = 2 * classes + channels
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.mean: Tensor
        self.scale: Tensor
        self.body = nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, options))

    def seen(self, coarse: Tensor, votes: Tensor) -> Tensor:
        """What it reads, [b, 2 classes + channels]."""
        shares = F.log_softmax(votes, dim=1).clamp(min=-10)
        ordered = shares.topk(shares.shape[1], dim=1).values
        return torch.cat([shares, ordered, F.adaptive_avg_pool2d(coarse, 1).flatten(1)], dim=1)

    def forward(self, coarse: Tensor, votes: Tensor) -> Tensor:
        return self.told(self.seen(coarse, votes))

    def told(self, seen: Tensor) -> Tensor:
        """The same from what `seen` gives."""
        return self.body((seen - self.mean) / self.scale)  # type: ignore[no-any-return]

    @torch.no_grad()
    def standardise(self, seen: Tensor) -> None:
        """Set mean and scale of each input by what was seen [n, inputs]."""
        self.mean.copy_(seen.mean(0))
        self.scale.copy_(seen.std(0) + 1e-3)


def fit(head: ValueHead, seen: Tensor, right: Tensor, *, seed: int, steps: int = 1500, batch: int = 512) -> float:
    """Train a head on what it sees [n, inputs] and which options were right, bool [n, options]; the last loss."""
    torch.manual_seed(seed)
    head.standardise(seen)
    optimizer = torch.optim.AdamW(head.body.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    goal, loss = right.float(), torch.zeros(())
    for _ in range(steps):
        rows = torch.randint(len(seen), (batch,))
        loss = F.binary_cross_entropy_with_logits(head.told(seen[rows]), goal[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return float(loss.detach())
