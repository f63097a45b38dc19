"""A network of several widths after a common first stage (slimmable networks, Yu et al., ICLR 2019; DS-Net, CVPR 2021).

All widths share the weights of the widest body: a narrower one reads the first channels of every kernel. Batch norms and
the last linear layer are each width's own, without which accuracy falls apart (Yu et al.). At export each width is a
plain body with its slices copied out: nothing is sliced at run time.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from models.nets.layers import ConvUnit, Fuse, Head, Residual
from models.nets.multi_exit import FirstStage, Stage, State, Widths
from models.nets.network import Network
from models.training.equilibrium import scale_gradient

SHARES = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Channels:
    """Channels of the first stage's maps, and of the widest body: `middle` at 7 px, `late` at 7 and 3 px."""

    fine: int = 24
    coarse: int = 64
    middle: int = 96
    late: int = 128

    def body(self, share: float) -> "Body":
        """The body whose own channels are this share of the widest one's."""
        return Body(self.fine, self.coarse, round(self.middle * share), round(self.late * share))


class Body(nn.Module):
    """`fine` [b, fine, 15, 15] and `coarse` [b, coarse, 7, 7] to a map [b, late, 3, 3]."""

    def __init__(self, fine: int, coarse: int, middle: int, late: int) -> None:
        super().__init__()
        self.fuse = Fuse(fine, coarse, middle)
        self.chain = nn.Sequential(
            Residual(middle), ConvUnit(middle, late), Residual(late), ConvUnit(late, late, pool=2), Residual(late)
        )

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        return self.chain(self.fuse(fine, coarse))  # type: ignore[no-any-return]


class WidthStage(Stage):
    """`fine` and `coarse` to an answer, by one width; nothing follows."""

    inputs = ("fine", "coarse")
    outputs = ("late",)

    def __init__(self, name: str, body: Body, head: nn.Module) -> None:
        super().__init__(name, head)
        self.body = body

    def features(self, state: Mapping[str, Tensor]) -> State:
        return {"late": self.body(state["fine"], state["coarse"])}


class SlimmableNet(Network):
    """A first stage, whose own exit only teaches it to tell classes apart, and one body in four widths."""

    def __init__(self, channels: Channels, *, classes: int) -> None:
        super().__init__()
        head = Head(channels.coarse, channels.coarse, classes)
        self.first = FirstStage("look", Widths(fine=channels.fine, coarse=channels.coarse), head)
        self.stem = self.first.stem
        bodies = [channels.body(share) for share in SHARES]
        for body in bodies[:-1]:
            for kernel in kernels(body).values():
                kernel.requires_grad_(False)
        heads = [Head(round(channels.late * share), None, classes) for share in SHARES]
        self.widths = nn.ModuleList(
            WidthStage(f"width{share * 100:.0f}", body, head)
            for share, body, head in zip(SHARES, bodies, heads, strict=True)
        )
        self.drawn = tuple(range(len(SHARES)))

    @property
    def exits(self) -> int:
        return len(SHARES)

    def draw(self, rng: np.random.Generator) -> None:
        """The sandwich rule (Yu & Huang, ICCV 2019): the narrowest, the widest, and one between them."""
        last = len(SHARES) - 1
        self.drawn = (0, int(rng.integers(1, last)), last)

    def forward(self, image: Tensor) -> list[Tensor]:
        """In training: the first stage's logits, then those of the widths drawn; else those of every width."""
        made, first = self.first({"image": image})
        assert first is not None
        if not self.training:
            return [self.answer(place, made) for place in range(len(SHARES))]
        shared = {name: scale_gradient(tensor, 1 / len(self.drawn)) for name, tensor in made.items()}
        return [first, *(self.answer(place, shared) for place in self.drawn)]

    def answer(self, place: int, state: Mapping[str, Tensor]) -> Tensor:
        """Logits [b, classes] of a width, through the shared kernels."""
        stage = self.width(place)
        late = functional_call(stage.body, self.slices(place), (state["fine"], state["coarse"]))
        return stage.head(late)  # type: ignore[misc, no-any-return]

    def width(self, place: int) -> WidthStage:
        """A width's stage, typed; its own kernels are placeholders until `settled`."""
        stage = self.widths[place]
        assert isinstance(stage, WidthStage)
        return stage

    def slices(self, place: int) -> dict[str, Tensor]:
        """The kernels of a width by name: the first outputs and inputs of the widest body's."""
        widest = kernels(self.width(-1).body)
        own = kernels(self.width(place).body)
        return {name: widest[name][: len(kernel), : kernel.shape[1]] for name, kernel in own.items()}

    @torch.no_grad()
    def settled(self) -> list[WidthStage]:
        """Every width as a plain stage, its slices copied in."""
        for place in range(len(SHARES)):
            for name, kernel in kernels(self.width(place).body).items():
                kernel.copy_(self.slices(place)[name])
        return [self.width(place) for place in range(len(SHARES))]


def kernels(body: nn.Module) -> dict[str, nn.Parameter]:
    """The convolution kernels of a body by name."""
    return {name: p for name, p in body.named_parameters() if p.ndim == 4}
