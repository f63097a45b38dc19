"""Networks grown on the trained, frozen first stage of another: only what is new is trained, on that stage's maps."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.nets.bodies import looked
from models.nets.layers import Fuse
from models.nets.multi_exit import FirstStage, MultiExitNet, Stage, State


class FusedChain(nn.Module):
    """Two maps joined, then layers one after the other."""

    def __init__(self, fuse: Fuse, *layers: nn.Module) -> None:
        super().__init__()
        self.fuse = fuse
        self.chain = nn.Sequential(*layers)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        return self.chain(self.fuse(fine, coarse))  # type: ignore[no-any-return]


class VotingStage(Stage):
    """Maps through `body` to the next map, and the votes (logits) that stand to its answer.

    A learned share of those votes counts on: what the stages before know needs no second learning.
    """

    def __init__(
        self, name: str, maps: tuple[str, ...], votes: tuple[str, str], body: nn.Module, top: nn.Module
    ) -> None:
        """`maps` names what the body takes, and last what it makes; `votes` those before and after."""
        super().__init__(name, nn.Identity())
        self.inputs, self.outputs = (*maps[:-1], votes[0]), (maps[-1], votes[1])
        self.body, self.top = body, top
        self.share = nn.Parameter(torch.tensor(0.5))

    def features(self, state: Mapping[str, Tensor]) -> State:
        *maps, votes = (state[name] for name in self.inputs)
        x = self.body(*maps)
        return dict(zip(self.outputs, (x, self.share * votes + self.top(x)), strict=True))


class GrownNet(MultiExitNet):
    """A frozen first stage with its exit, and later stages that add to its votes."""

    def __init__(self, trunk: FirstStage, later: list[Stage]) -> None:
        super().__init__([trunk.requires_grad_(False), *later])
        self.trunk = trunk

    def forward(self, image: Tensor | Mapping[str, Tensor]) -> list[Tensor]:
        """Images uint8 [b, 32, 32, 3], or the first stage's state, to the logits [b, classes] of every exit."""
        state = looked(self.trunk, image)
        return [state["votes"], *self.walk(self.chain()[1:], state)]
