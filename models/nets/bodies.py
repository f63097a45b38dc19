"""Bodies of any width on a trained first stage: second stages of a trained network, cut down to their best channels.

Norms and heads are a body's own. A body starts from the trained kernels, sorted so that the channels that its head uses
most stand in front, and from norms that undo what they measure: the widest one starts as the trained stage.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from models.nets.layers import Fuse, Head, Norm, Residual
from models.nets.multi_exit import FirstStage, JoinedStage, MultiExitNet, Stage, State

FINE, COARSE, WIDEST = 48, 96, 128
"""Channels of the first stage's maps, and of the trained second stage."""


class Body(nn.Module):
    """`fine` [b, 48, 15, 15] and `coarse` [b, 96, 7, 7] to a map [b, middle, 7, 7]."""

    def __init__(self, middle: int) -> None:
        super().__init__()
        self.fuse = Fuse(FINE, COARSE, middle)
        self.chain = nn.Sequential(Residual(middle), Residual(middle))

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        return self.chain(self.fuse(fine, coarse))  # type: ignore[no-any-return]


class BodyStage(Stage):
    """`fine`, `coarse` and the `votes` that stand (logits) to an answer: a share of those votes, plus the body's own.

    The share is learned: what the first stage knows already needs no second learning by a narrow body.
    """

    inputs = ("fine", "coarse", "votes")
    outputs = ("votes",)

    def __init__(self, name: str, middle: int, classes: int, share: float) -> None:
        super().__init__(name, nn.Identity())
        self.body = Body(middle)
        self.top = Head(middle, middle, classes)
        self.share = nn.Parameter(torch.tensor(share))

    def features(self, state: Mapping[str, Tensor]) -> State:
        own = self.top(self.body(state["fine"], state["coarse"]))
        return {"votes": self.share * state["votes"] + own}

    def answer(self, state: Mapping[str, Tensor]) -> Tensor:
        """The logits [b, classes] alone."""
        return self.features(state)["votes"]

    @torch.no_grad()
    def start(self, weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        """Fill it with the front slices of trained weights; `state` is what the norms measure."""
        for name, own in self.named_parameters():
            source = weights.get(name.replace("norm.bias", "conv.bias"))
            if source is not None:
                own.copy_(source[tuple(slice(size) for size in own.shape)])
        with measured([layer for layer in self.modules() if isinstance(layer, Norm)]):
            self.eval().answer(state)


@contextmanager
def measured(norms: Iterable[nn.Module]) -> Iterator[None]:
    """Within it a forward pass in evaluation sets these norms: the identity, plus the bias that each holds."""
    hooks = [norm.register_forward_pre_hook(_undo) for norm in norms]
    yield
    for hook in hooks:
        hook.remove()


def _undo(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Measure what comes in, and make the norm the identity plus the bias that it holds."""
    assert isinstance(norm, Norm)
    x: Tensor = inputs[0]
    variance, mean = torch.var_mean(x, dim=(0, 2, 3))
    norm.running_mean, norm.running_var = mean, variance
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.add_(mean)


def parts(net: MultiExitNet) -> tuple[FirstStage, dict[str, Tensor]]:
    """The first stage of a trained network, and the weights of its second by the names that a BodyStage has."""
    trunk, second = net.chain()[:2]
    assert isinstance(trunk, FirstStage)
    assert isinstance(second, JoinedStage)
    stages = {"body.fuse.": second.first.get_submodule("body"), "body.chain.": second.second.get_submodule("body")}
    assert second.head is not None
    stages["top."] = second.head
    return trunk, {
        f"{prefix}{name}": tensor for prefix, module in stages.items() for name, tensor in module.state_dict().items()
    }


def in_order(weights: Mapping[str, Tensor], classes: Sequence[int] | None = None) -> dict[str, Tensor]:
    """The same body with its channels, and those of its head, sorted by the norm of the weights that read them.

    With `classes` only what tells those classes apart counts.
    """
    linear, turn = weights["top.linear.weight"], weights["top.turn.conv.weight"].flatten(1)
    rows = linear if classes is None else linear[list(classes)]
    asked = (rows - rows.mean(0)).norm(dim=0)
    hidden = asked.argsort(descending=True)
    channels = (turn * asked[:, None]).norm(dim=0).argsort(descending=True)
    made = {}
    for name, tensor in weights.items():
        if name == "top.linear.weight":
            made[name] = tensor[:, hidden]
        elif name.startswith("top.turn."):
            made[name] = tensor[hidden][:, channels] if tensor.ndim == 4 else tensor[hidden]
        elif name.startswith("body.chain.") and tensor.ndim == 4:
            made[name] = tensor[channels][:, channels]
        elif name.startswith("body."):
            made[name] = tensor[channels]
        else:
            made[name] = tensor
    return made


def kernels(stage: nn.Module) -> dict[str, nn.Parameter]:
    """The convolution kernels of a stage by name."""
    return {name: p for name, p in stage.named_parameters() if p.ndim == 4}


def looked(trunk: FirstStage, seen: Tensor | Mapping[str, Tensor]) -> State:
    """`fine`, `coarse` and `votes` (the logits) that a frozen first stage makes of images, or made before."""
    assert trunk.head is not None
    with torch.no_grad():
        made = trunk.features({"image": seen}) if isinstance(seen, Tensor) else dict(seen)
        return made | {"votes": trunk.head(made["coarse"])}
