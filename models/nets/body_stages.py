"""Graphs of the networks on a shipped first stage: the first stage, with a value head or not, and bodies."""

from torch import Tensor

from models.export import GraphStage, StagePorts
from models.nets.bodies import BodyStage
from models.nets.multi_exit import FirstStage
from models.nets.value_head import ValueHead


class FirstGraph(GraphStage):
    """`image` to `fine`, `coarse`, the `votes` that stand, the `value` of each option if there is a head, `logits`."""

    def __init__(self, trunk: FirstStage, name: str, values: ValueHead | None = None) -> None:
        super().__init__()
        self.trunk, self.name, self.values = trunk, name, values
        told = () if values is None else ("value",)
        self.ports = StagePorts(("image",), ("fine", "coarse", "votes", *told, "logits"))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        assert self.trunk.head is not None
        made = self.trunk.features({"image": image})
        logits = self.trunk.head(made["coarse"])
        told = () if self.values is None else (self.values(made["coarse"], logits),)
        # A copy: a graph's answer is no state, and later stages want the votes as one.
        return made["fine"], made["coarse"], logits.clone(), *told, logits


class BodyGraph(GraphStage):
    """`fine`, `coarse`, `votes` to `logits`; and to the new `votes`, if another stage may follow."""

    def __init__(self, stage: BodyStage, *, last: bool) -> None:
        super().__init__()
        self.stage, self.name, self.last = stage, stage.name, last
        self.ports = StagePorts(BodyStage.inputs, ("logits",) if last else ("votes", "logits"))

    def forward(self, fine: Tensor, coarse: Tensor, votes: Tensor) -> tuple[Tensor, ...]:
        logits = self.stage.answer({"fine": fine, "coarse": coarse, "votes": votes})
        return (logits,) if self.last else (logits.clone(), logits)
