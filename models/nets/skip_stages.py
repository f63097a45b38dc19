"""The stages of a network that skips: one graph for each start of a group, and one for each block.

A graph can't write a tensor that it reads, so a group's map and the votes travel in parts: what the group began with,
and what each block has added. The start of a group writes zeros for all of these; a skipped block leaves its zeros as
they are.

    open -> block1 -> block2 -> block3 -> widen -> block4 -> block5

State: `fine` and `coarse`, the trunk's maps; `x1` and `x2`, the maps with which the groups begin, `v1` and `v2`, their
votes; `a1` .. `a5` and `w1` .. `w5`, what the blocks added to map and votes. From `widen` on every stage answers, so a
walk that skips all that is left leaves where it stands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.export import GraphStage, StagePorts
from models.nets.fold import folded
from models.nets.residual import BLOCKS, COUNT, Backbone, Standing
from models.nets.skipping import Gates, Halting, Policy, SkipNet, accumulated, seen

STARTS = ("open", "widen")
LAST = len(BLOCKS) - 1
State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Place:
    """Of a stage: its group, and its block there from 1 on; 0 is the start."""

    group: int
    block: int

    @property
    def name(self) -> str:
        """Of the stage."""
        return f"block{self.number}" if self.block else STARTS[self.group]

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
        """The next group's start, if there is one."""
        return [Place(self.group + 1, 0)] if self.group < LAST else []

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the parts of the map that the stage reads."""
        return _parts("x", "a", self) if self.block or self.group else ()

    @property
    def votes(self) -> tuple[str, ...]:
        """Names of the parts of the votes that it reads."""
        return _parts("v", "w", self) if self.block or self.group else ()

    @property
    def joined(self) -> tuple[str, ...]:
        """Names of the trunk's maps, for the block that joins them."""
        return ("fine", "coarse") if self.number == 1 else ()


def _parts(begun: str, added: str, place: Place) -> tuple[str, ...]:
    """Names of what a group began with, and of what its blocks before the place added; a start reads the last one's."""
    group, blocks = (place.group, place.block - 1) if place.block else (place.group - 1, BLOCKS[place.group - 1])
    first = sum(BLOCKS[:group]) + 1
    return (f"{begun}{group + 1}", *(f"{added}{number}" for number in range(first, first + blocks)))


PLACES = [Place(group, block) for group, blocks in enumerate(BLOCKS) for block in range(blocks + 1)]
"""In walking order."""


class SkipStage(GraphStage):
    """One stage. `next` names what may follow it: the blocks left in its group, and the start of the one after."""

    extra_inputs: tuple[str, ...] = ()
    """State beside maps and votes, for deciding."""
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
    def made(self) -> tuple[str, ...]:
        """Names of the maps and votes that the stage makes and a later one reads."""
        place = self.place
        own = () if place.number == COUNT else (f"a{place.number}", f"w{place.number}")
        if place.block:
            return own
        blanks = [
            name
            for after in place.following
            if after.number < COUNT
            for name in (f"a{after.number}", f"w{after.number}")
        ]
        trunk = ("fine", "coarse") if place.group == 0 else ()
        return (*trunk, f"x{place.group + 1}", f"v{place.group + 1}", *blanks)

    def declare(self) -> None:
        """Set the ports: the maps and votes that this stage makes, its signals, its answer."""
        place = self.place
        given = (*place.joined, *place.maps, *place.votes) if place.block or place.group else ("image",)
        self.ports = StagePorts((*given, *self.extra_inputs), (*self.made, *self.signals, *self.answer_ports))

    @property
    def answer_ports(self) -> tuple[str, ...]:
        """`logits` where the stage has an exit."""
        return ("logits",) if self.answers else ()

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors in the order of `ports.inputs` to tensors in the order of `ports.outputs`."""
        state = dict(zip(self.ports.inputs, tensors, strict=True))
        made = self.step(state)
        return tuple(made[name] for name in self.ports.outputs)

    def step(self, state: State) -> dict[str, Tensor]:
        """All that the stage makes, by name."""
        if not self.place.block:
            return self.start(state)
        before = self.standing(state)
        added = self.adds(before.map, state)
        after, number = before.plus(added), self.place.number
        made = {f"a{number}": added.map, f"w{number}": added.votes, "logits": after.votes}
        return made | self.decide(after, state)

    def start(self, state: State) -> dict[str, Tensor]:
        """What the start of a group makes: zeros for what its blocks may add."""
        if self.place.group:
            begun, made = self.backbone.widen(self.standing(state)), {}
        else:
            opened = self.backbone.open(state["image"])
            begun, made = self.backbone.begin(opened), {"fine": opened.fine, "coarse": opened.coarse}
        number = self.place.group + 1
        made |= {f"x{number}": begun.map, f"v{number}": begun.votes, "logits": begun.votes}
        for after in self.place.following:
            made |= {f"a{after.number}": torch.zeros_like(begun.map), f"w{after.number}": torch.zeros_like(begun.votes)}
        return made | self.decide(begun, state)

    def standing(self, state: State) -> Standing:
        """Map and votes as the stage finds them."""
        return Standing(whole(state, self.place.maps), whole(state, self.place.votes))

    def adds(self, x: Tensor, state: State) -> Standing:
        """What the stage's block adds."""
        block = self.backbone.block(self.place.group, self.place.block - 1)
        return block(*(state[name] for name in self.place.joined), x)  # type: ignore[no-any-return]

    def decide(self, standing: Standing, state: State) -> dict[str, Tensor]:
        """The signals, from map and votes as they now stand."""
        raise NotImplementedError


def whole(state: State, parts: Sequence[str]) -> Tensor:
    """A map or votes from the parts."""
    x = state[parts[0]]
    for name in parts[1:]:
        x = x + state[name]
    return x


class GateStage(SkipStage):
    """Says of the blocks left in the group what their gates make of map and votes as they now stand."""

    def __init__(self, backbone: Backbone, place: Place, gates: Gates) -> None:
        super().__init__(backbone, place)
        self.gates = gates
        self.signals = (f"gates_{place.name}",) if place.following else ()
        self.declare()

    def decide(self, standing: Standing, state: State) -> dict[str, Tensor]:
        """`gates_*` [b, blocks left]."""
        left, looked = self.gates.of(self.place.group)[self.place.block :], seen(standing)
        return {name: torch.sigmoid(torch.cat([gate(looked) for gate in left], dim=1)) for name in self.signals}


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

    def decide(self, standing: Standing, state: State) -> dict[str, Tensor]:
        """`policy*` [b, all blocks]."""
        return {name: torch.sigmoid(self.policy(standing)) if self.first else state["policy"] for name in self.signals}


class HaltingStage(SkipStage):
    """Adds the score of what stands to the group's. What blocks add is weighted by what remained to 1 before them.

    A block is entered only after the one before it, so it reads the map and votes that this one left, `m1` .. `m4` and
    `u1` .. `u4`, and its sum; the weighted parts make what the group ends with.
    """

    def __init__(self, backbone: Backbone, place: Place, halting: Halting) -> None:
        super().__init__(backbone, place)
        self.halting = halting
        self.next = [after.name for after in (*place.following[:1], *place.turn)]
        self.signals = (f"halted_{place.name}",) if place.following else ()
        self.declare()
        if place.block:
            before = Place(place.group, place.block - 1)
            last = (f"m{before.number}", f"u{before.number}") if before.block else (place.maps[0], place.votes[0])
            self.last, self.sum = last, f"halted_{before.name}"
            # The weighted mean of the votes so far is only for the answer.
            mean = [name for name in place.votes if self.answers and name not in last]
            left = [f"m{place.number}", f"u{place.number}"] if place.following else []
            self.ports = StagePorts((*place.joined, *last, *mean, self.sum), (*left, *self.ports.outputs))

    @property
    def made(self) -> tuple[str, ...]:
        """See `SkipStage.made`; of the last group's mean only the votes are asked for."""
        return tuple(name for name in super().made if not (self.answers and name.startswith("a")))

    def step(self, state: State) -> dict[str, Tensor]:
        """See `SkipStage.step`."""
        if not self.place.block:
            return self.start(state)
        before, number = Standing(*(state[name] for name in self.last)), self.place.number
        added = self.adds(before.map, state)
        after, weight = before.plus(added), 1 - state[self.sum]
        weighted = Standing(weight[:, :, None, None] * added.map, weight * added.votes)
        made = {
            f"a{number}": weighted.map,
            f"w{number}": weighted.votes,
            f"m{number}": after.map,
            f"u{number}": after.votes,
        }
        made |= {"logits": whole(state, self.place.votes) + weighted.votes} if self.answers else {}
        return made | self.decide(after, state)

    def decide(self, standing: Standing, state: State) -> dict[str, Tensor]:
        """`halted_*` [b, 1]: what the group's scores add up to."""
        if not self.signals:
            return {}
        so_far = state[self.sum] if self.place.block else torch.zeros_like(standing.votes[:, :1])
        score = self.halting.of(self.place.group)[self.place.block]
        return {name: accumulated(so_far, score(seen(standing))) for name in self.signals}


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
