"""Graphs of the networks on a shipped first stage: the first stage, with a value head or not, and bodies."""

from torch import Tensor

from models.export import GraphStage, StagePorts
from models.nets.bodies import BodyStage
from models.nets.multi_exit import FirstStage
from models.nets.value_head import ValueHead


class FirstGraph(GraphStage):
    """`image` to `fine`, `coarse`, the `logits`, once more by each name of `votes`; `value` if it has a head.

    A graph's answer is no state, and a stage can't write a tensor that it reads: hence the copies, which cost nothing.
    """

    def __init__(
        self, trunk: FirstStage, name: str, values: ValueHead | None = None, *, votes: tuple[str, ...] = ("votes",)
    ) -> None:
        super().__init__()
        self.trunk, self.name, self.values, self.votes = trunk, name, values, votes
        told = () if values is None else ("value",)
        self.ports = StagePorts(("image",), ("fine", "coarse", *votes, *told, "logits"))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """uint8 [rows, 32, 32, 3] to tensors in the order of the ports."""
        assert self.trunk.head is not None
        made = self.trunk.features({"image": image})
        logits = self.trunk.head(made["coarse"])
        told = () if self.values is None else (self.values(made["coarse"], logits),)
        return made["fine"], made["coarse"], *(logits.clone() for _ in self.votes), *told, logits


class BodyGraph(GraphStage):
    """`fine`, `coarse` and the votes named `reads` to `logits`; and once more as the state `writes`, if it is named."""

    def __init__(self, stage: BodyStage, *, reads: str = "votes", writes: str | None = None) -> None:
        super().__init__()
        self.stage, self.name, self.writes = stage, stage.name, writes
        self.ports = StagePorts(("fine", "coarse", reads), ("logits",) if writes is None else (writes, "logits"))

    def forward(self, fine: Tensor, coarse: Tensor, votes: Tensor) -> tuple[Tensor, ...]:
        """Tensors in the order of the ports."""
        logits = self.stage.answer({"fine": fine, "coarse": coarse, "votes": votes})
        return (logits,) if self.writes is None else (logits.clone(), logits)
