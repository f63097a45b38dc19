"""Networks that look at a photo several times, as one graph for all looks: their stages share the graph's file.

The backbone (EfficientNet-Lite0) is the same at every look, so a second copy on disk would only cost. What differs
between looks, the heads, lies in the graph as a stack from which a look takes its own: by the size of its picture, or
by how many looks there were.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.export import GraphStage, StagePorts
from models.nets.lite import FEATURES, LiteNet

CELLS = 9
"""Cells of the map that the policy sees: 3 x 3 of a picture of 96 px."""


class Sized(GraphStage):
    """A look at the whole photo at one of several `sizes`; each has a head, and hands what it saw to larger ones.

    State: `evidence` [rows, classes], the logits that stood before this look, 0 at first.
    """

    def __init__(self, backbone: LiteNet, sizes: Sequence[int], classes: int) -> None:
        super().__init__()
        self.name = "look"
        self.ports = StagePorts(("image", "evidence"), ("kept", "logits"))
        self.backbone = backbone
        self.weight = nn.Parameter(torch.zeros(len(sizes), FEATURES, classes))
        self.bias = nn.Parameter(torch.zeros(len(sizes), classes))
        self.trust = nn.Parameter(torch.zeros(len(sizes), 1))
        place = torch.zeros(max(sizes) // 32 + 1, dtype=torch.int64)
        for head, size in enumerate(sizes):
            place[size // 32] = head
        self.register_buffer("place", place, persistent=False)

    def forward(self, image: Tensor, evidence: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [b, size, size, 3] and what stood before [b, classes] to what stands now, as state and as answer."""
        seen = self.backbone(image).mean((2, 3))
        head = self.place[image.shape[1] // 32]  # type: ignore[index]
        logits = self.judge(seen, evidence, head)
        return logits + 0.0, logits

    def judge(self, seen: Tensor, evidence: Tensor, head: Tensor | int) -> Tensor:
        """Features [b, 1280] to logits [b, classes]: those of this look and a share of what stood before."""
        return seen @ self.weight[head] + self.bias[head] + self.trust[head] * evidence


class Focus(GraphStage):
    """A glance at the whole photo, or a look at a crop of it: which of the two says the state `looks`, 0 at first.

    The evidence of all looks is added up: `evidence` [rows, classes]. The glance also scores where to look: `where`
    [rows, candidates], which later looks repeat for the router.
    """

    def __init__(self, backbone: LiteNet, classes: int, candidates: int) -> None:
        super().__init__()
        self.name = "look"
        self.ports = StagePorts(("image", "evidence", "looks", "where"), ("told", "looked", "ranking", "logits"))
        self.backbone = backbone
        self.glance, self.crop = nn.Linear(FEATURES, classes), nn.Linear(FEATURES, classes)
        self.policy = nn.Linear(3 * CELLS, candidates)

    def forward(
        self, image: Tensor, evidence: Tensor, looks: Tensor, where: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """uint8 [b, 96, 96, 3], [b, classes], [b, 1], [b, candidates] to the new state and the logits."""
        cells = self.backbone(image).flatten(2).transpose(1, 2)
        told, hints = self.glanced(cells)
        first = (looks < 0.5).float()
        logits = evidence + first * told + (1.0 - first) * self.crop(cells.mean(1))
        ranking = where + first * self.policy(hints)
        return logits + 0.0, looks + 1.0, ranking, logits

    def glanced(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Cells of the glance's map [b, 9, 1280] to its logits [b, classes], and what the policy goes by [b, 27].

        That is of each cell: its evidence for the classes that the glance believes in (a class activation map, Zhou et
        al., CVPR 2016), its evidence for any class, and how much there is at all. So few numbers, since few photos
        teach the policy: one that saw the whole map learned them by heart.
        """
        evidence = self.glance(cells)
        logits = evidence.mean(1)
        belief = functional.softmax(logits / 2.0, dim=1)[:, None]
        hints = ((evidence * belief).sum(2), evidence.amax(2), (cells * cells).sum(2).sqrt())
        return logits, torch.cat(hints, dim=1)
