"""A network of several widths after a common first stage (slimmable networks, Yu et al., ICLR 2019; DS-Net, CVPR 2021).

All widths share the kernels of the widest body: a narrower one reads the first channels of each. Batch norms and heads
are each width's own, without which accuracy falls apart (Yu et al.). At export each width is a plain body with its
slices copied out: nothing is sliced at run time.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from models.nets.bodies import WIDEST, BodyStage, in_order, kernels, looked, parts
from models.nets.multi_exit import FirstStage, MultiExitNet
from models.nets.network import Network

SHARES = (0.25, 0.5, 0.75, 1.0)


class SlimmableNet(Network):
    """A frozen first stage with an exit, and one body in four widths."""

    def __init__(self, trunk: FirstStage, *, classes: int) -> None:
        super().__init__()
        self.trunk = trunk.requires_grad_(False)
        self.stem = trunk.stem
        self.widths = nn.ModuleList(
            BodyStage(f"width{share * 100:.0f}", round(WIDEST * share), classes, 1 - share) for share in SHARES
        )
        for place in range(len(SHARES) - 1):
            for kernel in self._own(place).values():
                kernel.requires_grad_(False)
        self.drawn = tuple(range(len(SHARES)))

    @property
    def exits(self) -> int:
        return 1 + len(SHARES)

    def draw(self, rng: np.random.Generator) -> None:
        """The sandwich rule (Yu & Huang, ICCV 2019): the narrowest, the widest, and one between them."""
        last = len(SHARES) - 1
        self.drawn = (0, int(rng.integers(1, last)), last)

    def forward(self, image: Tensor | Mapping[str, Tensor]) -> list[Tensor]:
        """Images uint8 [b, 32, 32, 3] to the logits [b, classes] of the first stage and of every width.

        In training of the widths drawn, and from the first stage's state or from images.
        """
        state = looked(self.trunk, image)
        if self.training:
            return [self.answer(place, state) for place in self.drawn]
        return [state["votes"], *(self.answer(place, state) for place in range(len(SHARES)))]

    def answer(self, place: int, state: Mapping[str, Tensor]) -> Tensor:
        """Logits [b, classes] of a width, through the shared kernels."""
        logits: Tensor
        _, logits = functional_call(self.width(place), self.slices(place), (dict(state),))
        return logits

    def width(self, place: int) -> BodyStage:
        """A width's stage, typed; a narrower one's own kernels are placeholders."""
        stage = self.widths[place]
        assert isinstance(stage, BodyStage)
        return stage

    def slices(self, place: int) -> dict[str, Tensor]:
        """The kernels of a width by name: the first outputs and inputs of the widest one's."""
        widest = self._own(-1)
        return {name: widest[name][: len(own), : own.shape[1]] for name, own in self._own(place).items()}

    @torch.no_grad()
    def cut(self) -> list[BodyStage]:
        """Every width as a plain stage, its slices copied in."""
        for place in range(len(SHARES)):
            for name, kernel in self._own(place).items():
                kernel.copy_(self.slices(place)[name])
        return [self.width(place) for place in range(len(SHARES))]

    def _own(self, place: int) -> dict[str, nn.Parameter]:
        return kernels(self.width(place))


def grown(net: MultiExitNet, images: NDArray[np.uint8], *, classes: int) -> SlimmableNet:
    """A slimmable network on the first stage of a trained one, the widest body of which starts as its second stage.

    `images` uint8 [n, 32, 32, 3] are what the norms measure at the start.
    """
    trunk, weights = parts(net)
    made, ordered = SlimmableNet(trunk, classes=classes), in_order(weights)
    state = looked(trunk, torch.from_numpy(images))
    for place in range(len(SHARES)):
        made.width(place).start(ordered, state)
    return made
