"""A network of several widths after a common first stage (slimmable networks, Yu et al., ICLR 2019; DS-Net, CVPR 2021).

The first stage and the weights that the widest body starts from are those of a trained multi-exit network. All widths
share the kernels of the widest body: a narrower one reads the first channels of each. Batch norms and heads are each
width's own, without which accuracy falls apart (Yu et al.). At export each width is a plain body with its slices copied
out: nothing is sliced at run time.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from models.nets.layers import Fuse, Head, Norm, Residual
from models.nets.multi_exit import FirstStage, JoinedStage, MultiExitNet, Stage, State
from models.nets.network import Network

SHARES = (0.25, 0.5, 0.75, 1.0)
FINE, COARSE, MIDDLE = 48, 96, 128
"""Channels of the first stage's maps, and of the widest body."""


class Body(nn.Module):
    """`fine` [b, 48, 15, 15] and `coarse` [b, 96, 7, 7] to a map [b, middle, 7, 7]."""

    def __init__(self, middle: int) -> None:
        super().__init__()
        self.fuse = Fuse(FINE, COARSE, middle)
        self.chain = nn.Sequential(Residual(middle), Residual(middle))

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        return self.chain(self.fuse(fine, coarse))  # type: ignore[no-any-return]


class WidthStage(Stage):
    """`fine` and `coarse` to an answer, by one width; nothing follows."""

    inputs = ("fine", "coarse")
    outputs = ("x3",)

    def __init__(self, name: str, middle: int, classes: int) -> None:
        super().__init__(name, Head(middle, middle, classes))
        self.body = Body(middle)

    def features(self, state: Mapping[str, Tensor]) -> State:
        return {"x3": self.body(state["fine"], state["coarse"])}


class SlimmableNet(Network):
    """A frozen first stage with an exit, and one body in four widths."""

    def __init__(self, trunk: FirstStage, *, classes: int) -> None:
        super().__init__()
        self.trunk = trunk.requires_grad_(False)
        self.stem = trunk.stem
        self.widths = nn.ModuleList(
            WidthStage(f"width{share * 100:.0f}", round(MIDDLE * share), classes) for share in SHARES
        )
        for place in range(len(SHARES) - 1):
            for kernel in kernels(self.width(place)).values():
                kernel.requires_grad_(False)
        self.drawn = tuple(range(len(SHARES)))

    @property
    def exits(self) -> int:
        return 1 + len(SHARES)

    def draw(self, rng: np.random.Generator) -> None:
        """The sandwich rule (Yu & Huang, ICCV 2019): the narrowest, the widest, and one between them."""
        last = len(SHARES) - 1
        self.drawn = (0, int(rng.integers(1, last)), last)

    def forward(self, image: Tensor) -> list[Tensor]:
        """In training the logits of the widths drawn; else those of the first stage and of every width."""
        with torch.no_grad():
            made, first = self.trunk({"image": image})
        assert first is not None
        if self.training:
            return [self.answer(place, made) for place in self.drawn]
        return [first, *(self.answer(place, made) for place in range(len(SHARES)))]

    def answer(self, place: int, state: Mapping[str, Tensor]) -> Tensor:
        """Logits [b, classes] of a width, through the shared kernels."""
        logits: Tensor
        _, logits = functional_call(self.width(place), self.slices(place), (dict(state),))
        return logits

    def width(self, place: int) -> WidthStage:
        """A width's stage, typed; its own kernels are placeholders until `settled`."""
        stage = self.widths[place]
        assert isinstance(stage, WidthStage)
        return stage

    def slices(self, place: int) -> dict[str, Tensor]:
        """The kernels of a width by name: the first outputs and inputs of the widest one's."""
        widest = kernels(self.width(-1))
        own = kernels(self.width(place))
        return {name: widest[name][: len(kernel), : kernel.shape[1]] for name, kernel in own.items()}

    @torch.no_grad()
    def settled(self) -> list[WidthStage]:
        """Every width as a plain stage, its slices copied in."""
        for place in range(len(SHARES)):
            for name, kernel in kernels(self.width(place)).items():
                kernel.copy_(self.slices(place)[name])
        return [self.width(place) for place in range(len(SHARES))]


def kernels(stage: nn.Module) -> dict[str, nn.Parameter]:
    """The convolution kernels of a stage by name."""
    return {name: p for name, p in stage.named_parameters() if p.ndim == 4}


def grown(net: MultiExitNet, images: NDArray[np.uint8], *, classes: int) -> SlimmableNet:
    """A slimmable network on the first stage of a trained one, whose second stage is the widest body's start.

    Its channels are put in order first, those that the head uses most in front, so that a narrow width starts from
    them. `images` uint8 [n, 32, 32, 3] measure what the norms, which are folded away in `net`, have to undo.
    """
    trunk, second = net.chain()[:2]
    assert isinstance(trunk, FirstStage)
    assert isinstance(second, JoinedStage)
    made = SlimmableNet(trunk, classes=classes)
    ordered = in_order(renamed(second.state_dict()))
    with torch.no_grad():
        state, _ = trunk({"image": torch.from_numpy(images)})
    for place in range(len(SHARES)):
        _start(made.width(place), ordered, state)
    return made


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a fusing stage joined with a chain, by the names that a WidthStage has for them."""
    names = {"first.body.": "body.fuse.", "second.body.": "body.chain.", "second.head.": "head."}
    made = {}
    for name, tensor in weights.items():
        for old, new in names.items():
            if name.startswith(old):
                made[name.replace(old, new)] = tensor
    return made | {name: tensor for name, tensor in weights.items() if name.startswith("head.")}


def in_order(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same body with its channels, and those of its head, sorted by the norm of the weights that read them."""
    turn, linear = weights["head.turn.conv.weight"], weights["head.linear.weight"]
    channels = turn.flatten(2).norm(dim=(0, 2)).argsort(descending=True)
    hidden = linear.norm(dim=0).argsort(descending=True)
    made = {}
    for name, tensor in weights.items():
        if name == "head.linear.weight":
            made[name] = tensor[:, hidden]
        elif name.startswith("head.turn."):
            made[name] = tensor[hidden][:, channels] if tensor.ndim == 4 else tensor[hidden]
        elif name.startswith("body.chain.") and tensor.ndim == 4:
            made[name] = tensor[channels][:, channels]
        elif name.startswith("body."):
            made[name] = tensor[channels]
        else:
            made[name] = tensor
    return made


@torch.no_grad()
def _start(stage: WidthStage, weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Fill a width with its slices; its norms undo what they measure, so that they start as identities with a bias."""
    for name, own in stage.named_parameters():
        if name.removesuffix("norm.bias") + "conv.bias" in weights:
            own.copy_(weights[name.removesuffix("norm.bias") + "conv.bias"][: len(own)])
        elif name in weights:
            own.copy_(weights[name][tuple(slice(size) for size in own.shape)])
    norms = [unit.register_forward_pre_hook(_undo) for unit in stage.modules() if isinstance(unit, Norm)]
    stage.eval()(dict(state))
    for hook in norms:
        hook.remove()


def _undo(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
    assert isinstance(norm, Norm)
    x: Tensor = inputs[0]
    variance, mean = torch.var_mean(x, dim=(0, 2, 3))
    norm.running_mean = mean
    norm.running_var = variance
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.add_(mean)

