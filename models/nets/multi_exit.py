"""A convolutional network with several exits and two scales, cut into stages.

Plain convolution, pooling, batch norm and SiLU (after airbench, Jordan 2024, arXiv:2404.00498), with what an anytime
network needs: exit 1 must see coarse features (MSDNet, Huang et al., ICLR 2018), so its stage makes a fine map at 15 px
and a coarse one at 7 px. Both travel on, so that no work of an early head is lost to the later stages.

Shapes below: b rows; maps are [b, channels, height, width].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from models.nets.layers import ConvUnit, Fuse, Head, Residual, Stem
from models.nets.network import Network
from models.training.equilibrium import equilibrium_factors, scale_gradient

State = dict[str, Tensor]


@dataclass(frozen=True)
class Widths:
    """Channels of the maps: `fine` at 15 px, `coarse` and `middle` at 7 px, `late` at 7 and 3 px."""

    fine: int = 48
    coarse: int = 96
    middle: int = 128
    late: int = 256


class Stage(nn.Module):
    """State in, state and logits out. `inputs` and `outputs` name the state tensors; `head` is None without an exit."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __init__(self, name: str, head: nn.Module | None) -> None:
        super().__init__()
        self.name = name
        self.head = head

    def features(self, state: Mapping[str, Tensor]) -> State:
        """The state tensors named by `outputs`, the one that the head reads last."""
        raise NotImplementedError

    def forward(self, state: Mapping[str, Tensor], exits_from_here: int = 1) -> tuple[State, Tensor | None]:
        """`exits_from_here` counts the exits that see this map, for gradient equilibrium; 1 leaves gradients alone."""
        made = self.features(state)
        if self.head is None:
            return made, None
        own, deeper = equilibrium_factors(exits_from_here)
        logits = self.head(scale_gradient(made[self.outputs[-1]], own))
        return {name: scale_gradient(tensor, deeper) for name, tensor in made.items()}, logits


class FirstStage(Stage):
    """`image` uint8 [b, 32, 32, 3] to `fine` [b, fine, 15, 15] and `coarse` [b, coarse, 7, 7]."""

    inputs = ("image",)
    outputs = ("fine", "coarse")

    def __init__(self, name: str, widths: Widths, head: nn.Module | None) -> None:
        super().__init__(name, head)
        self.fine_channels, self.coarse_channels = widths.fine, widths.coarse
        self.stem = Stem()
        self.fine = nn.Sequential(ConvUnit(self.stem.channels, widths.fine, pool=2), Residual(widths.fine))
        self.coarse = nn.Sequential(ConvUnit(widths.fine, widths.coarse, stride=2), Residual(widths.coarse))

    def features(self, state: Mapping[str, Tensor]) -> State:
        fine = self.fine(self.stem(state["image"]))
        return {"fine": fine, "coarse": self.coarse(fine)}


class FusingStage(Stage):
    """`fine` and `coarse` through `body`, which takes both, to `x2` [b, middle, 7, 7]."""

    inputs = ("fine", "coarse")
    outputs = ("x2",)

    def __init__(self, name: str, body: nn.Module, head: nn.Module | None) -> None:
        super().__init__(name, head)
        self.body = body

    def features(self, state: Mapping[str, Tensor]) -> State:
        return {"x2": self.body(state["fine"], state["coarse"])}


class ChainStage(Stage):
    """One map in, one map out, through `body`."""

    def __init__(self, name: str, ports: tuple[str, str], body: nn.Module, head: nn.Module | None) -> None:
        super().__init__(name, head)
        self.inputs, self.outputs = ports[:1], ports[1:]
        self.body = body

    def features(self, state: Mapping[str, Tensor]) -> State:
        return {self.outputs[0]: self.body(state[self.inputs[0]])}


class JoinedStage(Stage):
    """Two stages run as one: the first one's exit is gone, its state never leaves."""

    def __init__(self, first: Stage, second: Stage) -> None:
        super().__init__(first.name, second.head)
        self.inputs, self.outputs = first.inputs, second.outputs
        self.first, self.second = first, second

    def features(self, state: Mapping[str, Tensor]) -> State:
        return self.second.features(self.first.features(state))


class MultiExitNet(Network):
    """The stages in order; `forward` walks all of them."""

    def __init__(self, stages: list[Stage]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def chain(self) -> list[Stage]:
        """The stages, typed."""
        return [stage for stage in self.stages if isinstance(stage, Stage)]

    @property
    def stem(self) -> Stem:  # type: ignore[override]
        """The first layer, whose filters are set from data before training."""
        return next(layer for layer in self.modules() if isinstance(layer, Stem))

    @property
    def exits(self) -> int:
        """How many stages end in an exit."""
        return sum(stage.head is not None for stage in self.chain())

    def forward(self, image: Tensor) -> list[Tensor]:
        """uint8 [b, 32, 32, 3] to the logits [b, classes] of every exit, in order."""
        return self.walk(self.chain(), {"image": image})

    @staticmethod
    def walk(stages: Sequence[Stage], state: State) -> list[Tensor]:
        """The logits of every exit of some stages, from the state before them."""
        exits = sum(stage.head is not None for stage in stages)
        answers: list[Tensor] = []
        for stage in stages:
            state, logits = stage(state, exits - len(answers))
            if logits is not None:
                answers.append(logits)
        return answers


def without_exit(net: MultiExitNet, name: str) -> MultiExitNet:
    """The same network with one stage's exit taken out: the stage runs as one with the next."""
    chain = net.chain()
    place = [stage.name for stage in chain].index(name)
    return MultiExitNet([*chain[:place], JoinedStage(chain[place], chain[place + 1]), *chain[place + 2 :]])


def build(widths: Widths, *, classes: int, early_exits: bool) -> MultiExitNet:
    """The five-stage network; with `early_exits` false only its last stage answers (a static net of equal make)."""

    def head(channels: int, hidden: int | None) -> nn.Module | None:
        return Head(channels, hidden, classes) if early_exits else None

    w = widths
    third = nn.Sequential(Residual(w.middle), Residual(w.middle))
    fourth = nn.Sequential(ConvUnit(w.middle, w.late), Residual(w.late))
    fifth = nn.Sequential(Residual(w.late), ConvUnit(w.late, w.late, pool=2), Residual(w.late))
    return MultiExitNet(
        [
            FirstStage("block1", w, head(w.coarse, None)),
            FusingStage("block2", Fuse(w.fine, w.coarse, w.middle), head(w.middle, w.middle)),
            ChainStage("block3", ("x2", "x3"), third, head(w.middle, w.middle)),
            ChainStage("block4", ("x3", "x4"), fourth, head(w.late, w.late // 2)),
            ChainStage("block5", ("x4", "x5"), fifth, Head(w.late, None, classes)),
        ]
    )
