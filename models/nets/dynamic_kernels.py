"""Later stages whose kernels depend on the image (CondConv, Yang et al., NeurIPS 2019; Dynamic Convolution, Chen
et al., CVPR 2020), and their static twin.

Each pair of 1x1 convolutions mixes `experts` kernels by a softmax attention over the block's pooled features, and what
they make is scaled per channel by squeeze and excitation (Hu et al., CVPR 2018). A mixed 1x1 kernel is one matrix a
row, so that the whole is a batched matrix product: exact for any number of rows, and at the static kernel's cost plus
the mixing (experts x inputs x outputs). A mixed 3x3 kernel would need a convolution with a group a row.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.export import GraphStage, StagePorts
from models.nets.body_stages import FirstGraph
from models.nets.fold import folded
from models.nets.grown import FusedChain, GrownNet, VotingStage
from models.nets.layers import ConvNorm, ConvUnit, Fuse, Head, Norm, NormedKernels, Residual
from models.nets.multi_exit import FirstStage

SQUEEZE = 4
"""Channels of a block by hidden units of its attention."""


@dataclass(frozen=True)
class Make:
    """Channels of the maps: `middle` and `late` at 7 px, `last` at 3 px.

    `expansion` is the hidden channels of a pair by its channels. `experts` 0: kernels are fixed and nothing is excited,
    the static twin.
    """

    middle: int = 80
    late: int = 96
    last: int = 128
    expansion: float = 2.0
    experts: int = 4

    def pair(self, channels: int) -> nn.Module:
        """Two 1x1 convolutions around a skip: mixed or fixed."""
        hidden = round(channels * self.expansion)
        return MixedPair(channels, hidden, self.experts) if self.experts else FixedPair(channels, hidden)


class MixedPointwise(NormedKernels):
    """1x1 convolution with a kernel a row, then norm: [b, inputs, h, w], shares [b, experts] to [b, outputs, h, w]."""

    def __init__(self, inputs: int, outputs: int, experts: int) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.experts = nn.ParameterList(nn.Conv2d(inputs, outputs, 1, bias=False).weight for _ in range(experts))
        self.norm: nn.Module = Norm(outputs)
        self.bias: Tensor | None = None

    def kernels(self, shares: Tensor) -> Tensor:
        """[b, experts] to [b, outputs, inputs]."""
        bank = torch.stack([expert.flatten() for expert in self.experts])
        return (shares @ bank).view(-1, self.outputs, self.inputs)

    def forward(self, x: Tensor, shares: Tensor) -> Tensor:
        height, width = x.shape[2:]
        mixed = self.kernels(shares) @ x.reshape(-1, self.inputs, height * width)
        if self.bias is not None:
            mixed = mixed + self.bias
        return self.norm(mixed.view(-1, self.outputs, height, width))  # type: ignore[no-any-return]

    @torch.no_grad()
    def fold_norm(self) -> None:
        """Norm(mix(W) x) = mix(scale W) x + shift: the norm is linear, and so is the mixing."""
        norm = self.norm
        if not isinstance(norm, Norm):  # folded before
            return
        assert norm.running_var is not None
        assert norm.running_mean is not None
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        for expert in self.experts:
            expert.mul_(scale.view(-1, 1, 1, 1))
        self.bias = (norm.bias - norm.running_mean * scale).view(-1, 1)
        self.norm = nn.Identity()


class Attention(nn.Module):
    """Pooled features [b, channels] to shares [b, experts] of two layers, summing to 1, and a gain [b, channels]."""

    def __init__(self, channels: int, experts: int) -> None:
        super().__init__()
        hidden = channels // SQUEEZE
        self.squeeze = nn.Linear(channels, hidden)
        self.shares = nn.ModuleList(nn.Linear(hidden, experts) for _ in range(2))
        self.excite = nn.Linear(hidden, channels)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen = F.silu(self.squeeze(pooled))
        first, second = (shares(seen).softmax(1) for shares in self.shares)
        return first, second, torch.sigmoid(self.excite(seen))


class MixedPair(nn.Module):
    """x + gain * (mixed 1x1, SiLU, mixed 1x1)(x)."""

    def __init__(self, channels: int, hidden: int, experts: int) -> None:
        super().__init__()
        self.attention = Attention(channels, experts)
        self.widen = MixedPointwise(channels, hidden, experts)
        self.narrow = MixedPointwise(hidden, channels, experts)

    def forward(self, x: Tensor) -> Tensor:
        first, second, gain = self.attention(x.mean((2, 3)))
        made = self.narrow(F.silu(self.widen(x, first)), second)
        return x + made * gain[:, :, None, None]  # type: ignore[no-any-return]


class FixedPair(nn.Module):
    """x + (1x1, SiLU, 1x1)(x): the same with fixed kernels."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.widen = ConvUnit(channels, hidden, kernel=1)
        self.narrow = ConvNorm(hidden, channels, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(self.widen(x))  # type: ignore[no-any-return]


def grown(trunk: FirstStage, make: Make, *, classes: int) -> GrownNet:
    """Two stages with an exit each, on the maps and the votes of a trained first stage."""
    m = make
    second = FusedChain(
        Fuse(trunk.fine_channels, trunk.coarse_channels, m.middle, strided=True), m.pair(m.middle), Residual(m.middle)
    )
    third = nn.Sequential(
        ConvUnit(m.middle, m.late),
        m.pair(m.late),
        ConvUnit(m.late, m.last, stride=2),
        m.pair(m.last),
        Residual(m.last),
        m.pair(m.last),
    )
    return GrownNet(
        trunk,
        [
            VotingStage(
                "block2", ("fine", "coarse", "x2"), ("votes", "votes2"), second, Head(m.middle, m.middle, classes)
            ),
            VotingStage("block3", ("x2", "x3"), ("votes2", "votes3"), third, Head(m.last, None, classes)),
        ],
    )


class KernelsGraph(GraphStage):
    """A later stage as a graph: what it makes, `mixture<n>` [b, experts] of each mixed layer, and its `logits`."""

    def __init__(self, stage: VotingStage, first: int, *, last: bool) -> None:
        """Its mixtures are numbered from `first` on; the `last` stage keeps no state."""
        super().__init__()
        self.stage, self.name = stage, stage.name
        self.mixtures = tuple(
            f"mixture{first + place}" for place in range(sum(len(each.shares) for each in attentions(stage)))
        )
        self.ports = StagePorts(stage.inputs, (*(() if last else stage.outputs), *self.mixtures, "logits"))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors in the order of the ports."""
        said: list[Tensor] = []
        hooks = [
            attention.register_forward_hook(lambda _, __, made: said.extend(made[:2]))
            for attention in attentions(self.stage)
        ]
        made = self.stage.features(dict(zip(self.ports.inputs, tensors, strict=True)))
        for hook in hooks:
            hook.remove()
        votes = made[self.stage.outputs[-1]]
        told = made | dict(zip(self.mixtures, said, strict=True)) | {"logits": votes.clone()}
        return tuple(told[name] for name in self.ports.outputs)


def attentions(stage: nn.Module) -> list[Attention]:
    """Those of a stage, in the order in which they are asked."""
    return [module for module in stage.modules() if isinstance(module, Attention)]


def graphs(net: GrownNet) -> list[GraphStage]:
    """The stages to export, norms folded, in walking order."""
    fused = folded(net)
    assert isinstance(fused, GrownNet)
    made: list[GraphStage] = [FirstGraph(fused.trunk, fused.trunk.name)]
    later = [stage for stage in fused.chain() if isinstance(stage, VotingStage)]
    told = 1
    for stage in later:
        graph = KernelsGraph(stage, told, last=stage is later[-1])
        made.append(graph)
        told += len(graph.mixtures)
    return [graph.eval() for graph in made]
