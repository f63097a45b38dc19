"""The stages of the refining detector as they are exported."""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.export import GraphStage, StagePorts
from models.nets.detect import Look, Propose, looks, moved, peaks


class ProposeStage(GraphStage):
    """The frame at half size to sixteen proposals, each with its probability and what a closer look is told."""

    name = "propose"
    ports = StagePorts(("image",), ("proposals", "told", "doubt", "places", "score", "answer"))

    def __init__(self, net: Propose, scale: float, shift: float) -> None:
        """`scale` and `shift` make calibrated logits of heats (Platt)."""
        super().__init__()
        self.net, self.scale, self.shift = net, scale, shift

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """uint8 [rows, 180, 240, 3] to [rows, 16, ..] each; score [rows, 1]."""
        cells = self.net.cells(self.net.coarse.maps(image.permute(0, 3, 1, 2).float()))
        proposals, told = peaks(*self.net.heads(cells), cells)
        probability = torch.sigmoid(proposals[..., 1] * self.scale + self.shift)
        answer = alone(torch.cat([proposals[..., :1], probability[..., None], proposals[..., 2:]], dim=-1))
        doubt = 1 - (2 * probability - 1).abs()
        return proposals, told, doubt, looks(proposals[..., 2:]), _sure(answer), answer


class LookStage(GraphStage):
    """A closer look at one proposal; the last column says that it was looked at."""

    name = "look"
    ports = StagePorts(("pixels", "told"), ("found",))

    def __init__(self, net: Look) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor, told: Tensor) -> tuple[Tensor, ...]:
        """uint8 [rows, 64, 64, 3] and [rows, TOLD] to [rows, 9]."""
        found = self.net(pixels.permute(0, 3, 1, 2).float(), told)
        return (torch.cat([found, torch.ones_like(found[:, :1])], dim=1),)


class MergeStage(GraphStage):
    """Proposals with what the closer looks found; the others as they were."""

    name = "merge"
    ports = StagePorts(("proposals", "found"), ("score", "answer"))

    def __init__(self, scale: float, shift: float, temperature: float) -> None:
        super().__init__()
        self.scale, self.shift, self.temperature = scale, shift, temperature

    def forward(self, proposals: Tensor, found: Tensor) -> tuple[Tensor, ...]:
        """Proposals [rows, 16, 6] and [rows, 16, 9] to the answer [rows, 16, 6]."""
        before = torch.sigmoid(proposals[..., 1] * self.scale + self.shift)
        shares = (found[..., :4] / self.temperature).softmax(dim=-1)
        seen = found[..., 8:] > 0.5
        label = shares[..., 1:].argmax(dim=-1, keepdim=True).float()
        again = torch.cat([label, 1 - shares[..., :1], moved(proposals[..., 2:], found[..., 4:8])], dim=-1)
        first = torch.cat([proposals[..., :1], before[..., None], proposals[..., 2:]], dim=-1)
        answer = alone(torch.where(seen, again, first))
        return _sure(answer), answer


def alone(answer: Tensor) -> Tensor:
    """Boxes [b, k, 6] that overlap with a likelier one of their label by more than half are none: probability 0."""
    edges, probability, label = answer[..., 2:], answer[..., 1], answer[..., 0]
    low = torch.maximum(edges[:, :, None, :2], edges[:, None, :, :2])
    high = torch.minimum(edges[:, :, None, 2:], edges[:, None, :, 2:])
    shared = F.relu(high - low).prod(dim=-1)
    area = (edges[..., 2:] - edges[..., :2]).prod(dim=-1)
    close = shared > 0.5 * (area[:, :, None] + area[:, None] - shared).clamp(min=1e-9)
    likelier = probability[:, None] > probability[:, :, None]
    covered = (close & likelier & (label[:, :, None] == label[:, None])).float().amax(dim=2)
    return torch.cat([label[..., None], (probability * (1 - covered))[..., None], edges], dim=-1)


def _sure(answer: Tensor) -> Tensor:
    """Mean probability of having decided right on a proposal: [b, 1]."""
    return torch.maximum(answer[..., 1], 1 - answer[..., 1]).mean(dim=1, keepdim=True)
