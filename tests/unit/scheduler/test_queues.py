"""The queues against plain lists: nobody lost, nobody handed out twice, the most urgent first."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from service.core import CHEAPEST, FULL, NEVER, Terms, Walker
from service.scheduler.queues import Place, Queues

PLACES = [("a", 0), ("a", 1), ("b", 0), ("b", 2)]


def walker_at(place: Place, urgency: float) -> Walker:
    terms = Terms(FULL, CHEAPEST, NEVER, 1, urgency_at=urgency)
    return Walker(place[0], terms, 0.0, {}, lambda *_: None, stage=place[1])


def pushed(*walkers: Walker) -> Queues:
    queues = Queues()
    for walker in walkers:
        queues.push(walker)
    return queues


def test_nobody_waits_at_first() -> None:
    queues = Queues()
    assert (len(queues), list(queues), queues.most_urgent(), queues.waiting_at(("a", 0))) == (0, [], None, 0)
    assert queues.pop(("a", 0), 3) == []


def test_equal_urgencies_keep_their_order() -> None:
    walkers = [walker_at(("a", 0), 1.0) for _ in range(6)]
    assert pushed(*walkers).pop(("a", 0), 6) == walkers


def test_among_equals_the_deepest_stage_is_first() -> None:
    walkers = [walker_at(place, 1.0) for place in (("a", 0), ("b", 2), ("a", 1))]
    assert pushed(*walkers).most_urgent() == ("b", 2)


def test_a_walker_that_becomes_late_falls_behind() -> None:
    first, second = walker_at(("a", 0), 1.0), walker_at(("a", 0), 2.0)
    queues = pushed(first, second)
    queues.remove(first)
    first.late = True
    queues.push(first)
    assert len(queues) == 2
    assert queues.pop(("a", 0), 2) == [second, first]


def test_who_is_put_back_keeps_the_place() -> None:
    walkers = [walker_at(("a", 0), 1.0) for _ in range(3)]
    queues = pushed(*walkers)
    for walker in reversed(queues.pop(("a", 0), 2)):
        queues.put_back(walker)
    assert queues.pop(("a", 0), 3) == walkers


@dataclass
class Line:
    """One queue as a plain list of (urgency, turn, walker)."""

    waiting: list[tuple[float, int, Walker]] = field(default_factory=list)

    def sorted(self) -> list[Walker]:
        return [walker for _, _, walker in sorted(self.waiting, key=lambda entry: entry[:2])]

    def drop(self, walker: Walker) -> None:
        self.waiting = [entry for entry in self.waiting if entry[2] is not walker]


class QueuesMachine(RuleBasedStateMachine):
    """Whatever is done to the queues is done to the lists."""

    taken = Bundle("taken")

    def __init__(self) -> None:
        super().__init__()
        self.queues = Queues()
        self.lines = {place: Line() for place in PLACES}
        self.turns = count()
        self.turn_of: dict[int, int] = {}

    def expect(self, walker: Walker, turn: int) -> None:
        self.turn_of[id(walker)] = turn
        self.lines[walker.model, walker.stage].waiting.append((walker.urgency_at, turn, walker))

    def everybody(self) -> list[Walker]:
        return [walker for line in self.lines.values() for walker in line.sorted()]

    @rule(place=st.sampled_from(PLACES), urgency=st.integers(0, 4))
    def arrive(self, place: Place, urgency: int) -> None:
        walker = walker_at(place, float(urgency))
        self.queues.push(walker)
        self.expect(walker, next(self.turns))

    @rule(target=taken, place=st.sampled_from(PLACES), most=st.integers(0, 4))
    def pop(self, place: Place, most: int) -> object:
        walkers = self.queues.pop(place, most)
        assert walkers == self.lines[place].sorted()[:most]
        for walker in walkers:
            self.lines[place].drop(walker)
        return multiple(*walkers)

    @rule(walker=consumes(taken))
    def put_back(self, walker: Walker) -> None:
        self.queues.put_back(walker)
        self.expect(walker, self.turn_of[id(walker)])

    @rule(walker=consumes(taken), place=st.sampled_from(PLACES))
    def go_on(self, walker: Walker, place: Place) -> None:
        walker.model, walker.stage = place
        self.queues.push(walker)
        self.expect(walker, next(self.turns))

    @precondition(lambda self: self.everybody())
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        walker = data.draw(st.sampled_from(self.everybody()))
        self.queues.remove(walker)
        self.lines[walker.model, walker.stage].drop(walker)

    @precondition(lambda self: self.everybody())
    @rule(data=st.data())
    def become_late(self, data: st.DataObject) -> None:
        walker = data.draw(st.sampled_from(self.everybody()))
        self.queues.remove(walker)
        self.lines[walker.model, walker.stage].drop(walker)
        walker.late = True
        self.queues.push(walker)
        self.expect(walker, next(self.turns))

    @invariant()
    def all_are_there_once(self) -> None:
        assert len(self.queues) == len(self.everybody())
        assert sorted(map(id, self.queues)) == sorted(map(id, self.everybody()))
        assert [self.queues.waiting_at(place) for place in PLACES] == [
            len(line.waiting) for line in self.lines.values()
        ]

    @invariant()
    def the_most_urgent_is_known(self) -> None:
        heads = [(line.sorted()[0].urgency_at, -place[1], place) for place, line in self.lines.items() if line.waiting]
        assert self.queues.most_urgent() == (min(heads)[2] if heads else None)


TestQueues = QueuesMachine.TestCase
TestQueues.settings = settings(max_examples=40, stateful_step_count=30)
