"""A network of specialised branches and a general one behind a trunk (HydraNets, Mullapudi et al., CVPR 2018).

The trunk's answer tells which branch knows the classes in question; a branch adds its votes (logits) to those that
stand, and the general branch may add its own to them. Each branch learns from the images that the trunk sends it, by
classes that are fixed: so none can collapse, or do all the work.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.nets.bodies import BodyStage, in_order, looked, parts
from models.nets.multi_exit import FirstStage, MultiExitNet, State
from models.nets.network import Network


class Supernet(Network):
    """A frozen trunk with an exit, specialised branches that are trained, and a frozen general branch."""

    def __init__(
        self, trunk: FirstStage, branches: Mapping[str, Sequence[int]], middle: int, general: BodyStage, *, classes: int
    ) -> None:
        """`branches` names each branch's classes; `middle` are the channels of each."""
        super().__init__()
        self.trunk = trunk.requires_grad_(False)
        self.stem = trunk.stem
        self.branches = nn.ModuleList(BodyStage(name, middle, classes, 1.0) for name in branches)
        self.general = general.requires_grad_(False)
        branch_of = torch.zeros(classes, dtype=torch.int64)
        for place, members in enumerate(branches.values()):
            branch_of[list(members)] = place
        self.register_buffer("branch_of", branch_of)
        self.branch_of: Tensor

    @property
    def exits(self) -> int:
        return 2 + len(self.branches)

    def train(self, mode: bool = True) -> "Supernet":  # noqa: FBT001, FBT002 - as in torch
        """The general branch keeps its norms."""
        super().train(mode)
        self.general.eval()
        return self

    def forward(self, image: Tensor | Mapping[str, Tensor]) -> list[Tensor]:
        """Images uint8 [b, 32, 32, 3] to the logits [b, classes] of the trunk, each branch and the general one.

        In training, from the trunk's state: each branch's answer to the images that the trunk sends it.
        """
        state = looked(self.trunk, image)
        if self.training:
            return [self._sent(state)]
        return [state["votes"], *(stage.answer(state) for stage in (*self.bodies, self.general))]

    @property
    def bodies(self) -> list[BodyStage]:
        """The branches, typed."""
        return [stage for stage in self.branches if isinstance(stage, BodyStage)]

    def ways(self, image: Tensor) -> dict[tuple[str, ...], Tensor]:
        """Logits [b, classes] at the end of each way, by the names of its stages."""
        state = looked(self.trunk, image)
        made = {("trunk",): state["votes"], ("trunk", "general"): self.general.answer(state)}
        for stage in self.bodies:
            voted = state | {"votes": stage.answer(state)}
            made[("trunk", stage.name)] = voted["votes"]
            made[("trunk", stage.name, "general")] = self.general.answer(voted)
        return made

    def sent_to(self, votes: Tensor) -> Tensor:
        """Logits [b, classes] to int64 [b]: the branch whose classes are the likeliest together."""
        shares = votes.softmax(1)
        by_branch = torch.zeros(len(votes), len(self.branches)).index_add(1, self.branch_of, shares)
        return by_branch.argmax(1)

    def _sent(self, state: State) -> Tensor:
        """Every row's logits by the branch that it is sent to."""
        sent, logits = self.sent_to(state["votes"]), torch.zeros_like(state["votes"])
        for place, stage in enumerate(self.bodies):
            rows = (sent == place).nonzero()[:, 0]
            own = stage.answer({name: tensor[rows] for name, tensor in state.items()})
            logits = logits.index_copy(0, rows, own)
        return logits


def grown(
    net: MultiExitNet, branches: Mapping[str, Sequence[int]], middle: int, images: NDArray[np.uint8], *, classes: int
) -> Supernet:
    """A supernet on the first stage of a trained network: its second stage is the general branch, and the start of each
    specialised one, cut down to the channels that tell its classes apart."""
    trunk, weights = parts(net)
    state = looked(trunk, torch.from_numpy(images))
    general = BodyStage("general", weights["top.turn.conv.weight"].shape[1], classes, 0.0)
    general.start(weights, state)
    made = Supernet(trunk, branches, middle, general, classes=classes)
    sent = made.sent_to(state["votes"])
    for place, (body, members) in enumerate(zip(made.bodies, branches.values(), strict=True)):
        rows = sent == place
        body.start(in_order(weights, members), {name: tensor[rows] for name, tensor in state.items()})
    return made
