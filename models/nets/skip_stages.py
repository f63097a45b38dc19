"""The stages of a network that skips: one graph for each transition between groups, and one for each block.

A graph can't write a tensor that it reads, so the map of a group travels in parts: what the transition made, and what
each block has added. The transition writes zeros for all of these; a skipped block leaves its zeros as they are.

    open -> block1 -> coarse -> block2 -> turn -> block3 -> block4 -> block5 -> late -> block6 -> block7

State: `x1` .. `x4`, the groups' maps as their transitions made them; `a1` .. `a7`, what the blocks added; `votes`, the
early head's. From `late` on every stage answers, so a walk that skips all that is left leaves where it stands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.export import GraphStage, StagePorts
from models.nets.fold import folded
from models.nets.residual import BLOCKS, JOINING, Backbone
from models.nets.skipping import Gates, Halting, Policy, SkipNet, accumulated

TRANSITIONS = ("open", "coarse", "turn", "late")
LAST = len(BLOCKS) - 1
State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Place:
    """Of a stage: its group, and its block there from 1 on; 0 is the transition."""

    group: int
    block: int

    @property
    def name(self) -> str:
        """Of the stage."""
        return f"block{self.number}" if self.block else TRANSITIONS[self.group]

    @property
    def number(self) -> int:
        """Of the block, counted through all groups from 1 on."""
        return sum(BLOCKS[: self.group]) + self.block

    @property
    def following(self) -> list["Place"]:
        """The blocks that are left in the group."""
        return [Place(self.group, block) for block in range(self.block + 1, BLOCKS[self.group] + 1)]

    @property
    def turn(self) -> list["Place"]:
        """The next transition, if there is one."""
        return [Place(self.group + 1, 0)] if self.group < LAST else []

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the maps and additions that the stage reads."""
        if self.block:
            return _map(self.group, self.block - 1)
        return _ended(self.group - 1) if self.group else ("image",)

    @property
    def joins(self) -> tuple[tuple[str, ...], ...]:
        """Of the block that joins: names of the parts of the two maps that it takes beside its own group's."""
        return (_ended(0), _ended(1)) if (self.group, self.block) == (JOINING, 1) else ()


def _map(group: int, blocks: int) -> tuple[str, ...]:
    """Names of the parts of a group's map after that many of its blocks."""
    first = sum(BLOCKS[:group]) + 1
    return (f"x{group + 1}", *(f"a{number}" for number in range(first, first + blocks)))


def _ended(group: int) -> tuple[str, ...]:
    """Names of the parts of the map with which a group ends."""
    return _map(group, BLOCKS[group])


PLACES = [Place(group, block) for group, blocks in enumerate(BLOCKS) for block in range(blocks + 1)]
"""In walking order."""


class SkipStage(GraphStage):
    """One stage. `next` names what may follow it: the blocks left in its group, and the transition after them."""

    extra_inputs: tuple[str, ...] = ()
    """State beside the maps, for deciding."""
    signals: tuple[str, ...] = ()
    """What the router reads."""

    def __init__(self, backbone: Backbone, place: Place) -> None:
        super().__init__()
        self.backbone, self.place, self.name = backbone, place, place.name
        self.next = [after.name for after in (*place.following, *place.turn)]

    @property
    def answers(self) -> bool:
        """Whether the stage has an exit."""
        return self.place.group == LAST

    @property
    def beside(self) -> tuple[str, ...]:
        """State that the stage reads beside its group's map."""
        votes = ("votes",) if self.answers and self.place.block else ()
        return (*(name for parts in self.place.joins for name in parts), *votes)

    def declare(self) -> None:
        """Set the ports: the maps that this stage makes, its signals, its answer."""
        group, block = self.place.group, self.place.block
        blanks = [f"a{after.number}" for after in self.place.following]
        made = [f"a{self.place.number}"] if block else [f"x{group + 1}", *blanks]
        needed = [name for name in made if group < LAST or name != f"a{sum(BLOCKS)}"]
        answers = [*(["votes"] if block == 0 else []), "logits"] if self.answers else []
        self.ports = StagePorts(
            (*self.place.reads, *self.beside, *self.extra_inputs), (*needed, *self.signals, *answers)
        )

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors in the order of `ports.inputs` to tensors in the order of `ports.outputs`."""
        state = dict(zip(self.ports.inputs, tensors, strict=True))
        made = self.step(state)
        return tuple(made[name] for name in self.ports.outputs)

    def step(self, state: State) -> dict[str, Tensor]:
        """All that the stage makes, by name."""
        group, block = self.place.group, self.place.block
        if block:
            x = whole(state, self.place.reads)
            added = self.adds(x, state)
            made, x = {f"a{self.place.number}": added}, x + added
        else:
            before = state["image"] if group == 0 else whole(state, self.place.reads)
            x = self.backbone.transitions[group](before)
            made = {f"x{group + 1}": x}
            made |= {f"a{after.number}": torch.zeros_like(x) for after in self.place.following}
            made |= {"votes": self.backbone.early(before)} if self.answers else {}
        return made | self.decide(x, state) | (self.answer(x, {**state, **made}) if self.answers else {})

    def adds(self, x: Tensor, state: State) -> Tensor:
        """What the stage's block adds to its map."""
        maps = [whole(state, parts) for parts in self.place.joins]
        return self.backbone.block(self.place.group, self.place.block - 1, maps)(x)

    def answer(self, x: Tensor, state: State) -> dict[str, Tensor]:
        """`logits` [b, classes], from the last map as it now stands."""
        return {"logits": state["votes"] + self.backbone.head(x)}

    def decide(self, x: Tensor, state: State) -> dict[str, Tensor]:
        """The signals, from the map as it now stands."""
        raise NotImplementedError


def whole(state: State, parts: Sequence[str]) -> Tensor:
    """A map from its parts."""
    x = state[parts[0]]
    for name in parts[1:]:
        x = x + state[name]
    return x


class GateStage(SkipStage):
    """Says of the blocks left in the group what their gates make of the map as it now stands."""

    def __init__(self, backbone: Backbone, place: Place, gates: Gates) -> None:
        super().__init__(backbone, place)
        self.gates = gates
        self.signals = (f"gates_{place.name}",) if place.following else ()
        self.declare()

    def decide(self, x: Tensor, state: State) -> dict[str, Tensor]:
        """`gates_*` [b, blocks left]."""
        left = self.gates.of(self.place.group)[self.place.block :]
        return {name: torch.sigmoid(torch.cat([gate(x) for gate in left], dim=1)) for name in self.signals}


class PolicyStage(SkipStage):
    """The first one asks the policy; each one repeats what it said, for the router."""

    def __init__(self, backbone: Backbone, place: Place, policy: Policy) -> None:
        super().__init__(backbone, place)
        self.policy = policy
        self.first = place == PLACES[0]
        if place.following:
            self.extra_inputs = () if self.first else ("policy",)
            self.signals = ("policy",) if self.first else (f"policy_{place.name}",)
        self.declare()

    def decide(self, x: Tensor, state: State) -> dict[str, Tensor]:
        """`policy*` [b, all blocks]."""
        return {name: torch.sigmoid(self.policy(x)) if self.first else state["policy"] for name in self.signals}


class HaltingStage(SkipStage):
    """Adds the score of its map to the group's. What blocks add is weighted by what remained to 1 before them.

    A block is entered only after the one before it, so it reads the map that this one left, `m1` .. `m6`, and its sum.
    """

    def __init__(self, backbone: Backbone, place: Place, halting: Halting) -> None:
        super().__init__(backbone, place)
        self.halting = halting
        self.next = [after.name for after in (*place.following[:1], *place.turn)]
        self.signals = (f"halted_{place.name}",) if place.following else ()
        self.declare()
        if place.block:
            before = Place(place.group, place.block - 1)
            self.map = f"m{before.number}" if before.block else f"x{place.group + 1}"
            self.sum = f"halted_{before.name}"
            # The weighted mean of the maps so far is only for the head.
            mean = [name for name in place.reads if name != self.map] if self.answers else []
            left = [f"m{place.number}"] if place.following else []
            self.ports = StagePorts((self.map, *mean, *self.beside, self.sum), (*left, *self.ports.outputs))

    def step(self, state: State) -> dict[str, Tensor]:
        """See `SkipStage.step`."""
        if not self.place.block:
            return super().step(state)
        x, number = state[self.map], self.place.number
        added = self.adds(x, state)
        weighted = (1 - state[self.sum])[:, :, None, None] * added
        made = {f"a{number}": weighted, f"m{number}": x + added} | self.decide(x + added, state)
        if self.answers:
            made |= self.answer(whole(state, self.place.reads) + weighted, state)
        return made

    def decide(self, x: Tensor, state: State) -> dict[str, Tensor]:
        """`halted_*` [b, 1]: what the group's scores add up to."""
        if not self.signals:
            return {}
        so_far = state[self.sum] if self.place.block else torch.zeros_like(x[:, :1, 0, 0])
        score = self.halting.of(self.place.group)[self.place.block]
        return {name: accumulated(so_far, score(x)) for name in self.signals}


def skip_stages(net: SkipNet, way: str) -> list[SkipStage]:
    """The stages of the network by one of its ways to decide, norms folded, in walking order."""
    fused = folded(net)
    assert isinstance(fused, SkipNet)
    decider = fused.ways[way]
    made: list[SkipStage] = []
    for place in PLACES:
        match decider:
            case Gates():
                made.append(GateStage(fused.backbone, place, decider))
            case Policy():
                made.append(PolicyStage(fused.backbone, place, decider))
            case Halting():
                made.append(HaltingStage(fused.backbone, place, decider))
            case _:
                raise ValueError(f"no stages for {way!r}")
    return [stage.eval() for stage in made]
