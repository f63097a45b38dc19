"""The nouns that every part speaks of. Imports nothing of service.

Times are seconds of the monotonic clock that the caller passes in; MACs are multiply-adds, as integers; a price is the
expected gain in correctness that one GMAC more must buy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NewType, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Price = NewType("Price", float)
FULL = Price(-math.inf)
"""Below 0: the whole network, also where going on is not expected to help."""
NEUTRAL = Price(0.0)
"""Go on wherever it is expected to help at all."""
CHEAPEST = Price(math.inf)
"""Leave at the first exit."""


def named(price: Price) -> float | str:
    """A price as a person or JSON can read it: the two ends of the path have names."""
    return {FULL: "full", CHEAPEST: "cheapest"}.get(price, float(price))


class OnMiss(StrEnum):
    """What a passed deadline does to a request."""

    BEST_EFFORT = "best_effort"
    FAIL = "fail"


class Reason(StrEnum):
    """Why a walk ended where it did."""

    CONFIDENT = "confident"
    LAST = "last"
    DEADLINE = "deadline"
    COMPUTE = "compute"
    OVERLOAD = "overload"

    @property
    def forced(self) -> bool:
        """True for an exit that the router did not choose: it is outside every certificate."""
        return self not in (Reason.CONFIDENT, Reason.LAST)


class Release(StrEnum):
    """Why a batch was let go as it was."""

    FULL = "full"
    """As many rows as pay by the profile."""
    SLACK = "slack"
    """More would have come and waiting would have paid, but somebody couldn't wait."""
    IDLE = "idle"
    """Nobody to wait for, or the wait would not have paid."""
    DEADLINE = "deadline"
    """Cut short: with more rows somebody would have been late."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a client asks for; None means not asked. Units: ms, shares in 0..1, millions of MACs."""

    latency_ms: float | None = None
    accuracy: float | None = None
    agreement: float | None = None
    max_drop: float | None = None
    confidence: float = 0.95
    compute_mmacs: float | None = None
    priority: int = 3
    on_miss: OnMiss = OnMiss.BEST_EFFORT

    @property
    def asked(self) -> dict[str, Any]:
        """The fields that differ from asking nothing."""
        return {name: value for name in self.__slots__ if (value := getattr(self, name)) != getattr(ASK_NOTHING, name)}

    @property
    def quality(self) -> dict[str, float]:
        """The targets that need a certificate, by kind."""
        targets = {"accuracy": self.accuracy, "agreement": self.agreement, "max_drop": self.max_drop}
        return {kind: target for kind, target in targets.items() if target is not None}


ASK_NOTHING = Budget()


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock, in seconds; `NEVER` has none."""

    at: float

    def left(self, now: float) -> float:
        """Seconds until the deadline; negative once it has passed."""
        return self.at - now

    def allows(self, now: float, seconds: float) -> bool:
        """Whether work of that many seconds, begun now, ends in time."""
        return now + seconds <= self.at


NEVER = Deadline(math.inf)
LATE_S = 3600.0
"""How far a late walker falls back in the queues: behind all that is in time, yet ahead of what comes an hour later."""


@dataclass(frozen=True, slots=True)
class Terms:
    """A budget as the scheduler sees it: an interval of prices and hard limits.

    The market may move the price inside [`floor`, `ceiling`]; a certified budget has both at its certified price.
    `urgency_at` orders the queues: a moment in seconds, drawn nearer by a high priority, so that age always wins in
    the end.
    """

    floor: Price
    ceiling: Price
    deadline: Deadline
    max_macs: int
    urgency_at: float
    priority: int = 3
    on_miss: OnMiss = OnMiss.BEST_EFFORT
    certificate: str | None = None
    reserve_s: float = 0.0
    """How much sooner than it is due the walk's own deadline is: seconds for the answer's way out."""

    @property
    def due(self) -> Deadline:
        """When the answer has to be out."""
        return Deadline(self.deadline.at + self.reserve_s)

    def price(self, market: Price) -> Price:
        """The price that this walker pays at the market's price: its floor while compute is free."""
        return min(max(self.floor, market), self.ceiling) if market > NEUTRAL else self.floor


@dataclass(slots=True)
class Ledger:
    """What a walker spent. Device seconds are its share of each batch that it was in."""

    stages: list[str] = field(default_factory=list)
    stage_macs: list[int] = field(default_factory=list)
    """What each of `stages` cost."""
    macs: int = 0
    rows: int = 0
    device_s: float = 0.0
    queue_s: float = 0.0
    decode_s: float = 0.0
    glimpses: int = 0

    def charge(self, stage: str, *, macs: int, device_s: float, rows: int = 1) -> None:
        """Book a stage; `macs` and `device_s` are those of all the `rows` that the sample had there."""
        self.stages.append(stage)
        self.stage_macs.append(macs)
        self.rows += rows
        self.macs += macs
        self.device_s += device_s


@dataclass(frozen=True, slots=True)
class Standing:
    """The answer standing at the last exit that the walker reached."""

    exit: str
    output: NDArray[Any]
    """What the stage answered for this row after calibration: for classification, probabilities float32 [classes]."""
    score: float
    """The calibrated score by which the router judged this exit, 0..1."""


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of a walk, as `explain=true` tells it."""

    stage: str
    exit: str | None
    score: float | None
    price: Price
    batch_rows: int
    queue_s: float
    stage_s: float
    verdict: str
    next: str | None
    """The stage that follows; None where the walk ends."""
    signals: Mapping[str, float | list[float]]
    """What the router went by, in its own words."""
    place: int = 0
    """Index of the stage in the graph."""
    rows: int = 1
    """Rows of this sample that ran; more than 1 where the stage is ragged."""
    look: NDArray[np.float32] | None = None
    """Where the stage's glimpses were taken, float32 [rows, coordinates]; None where that was not chosen."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a walk ended: with a standing answer, or with an error, never with both."""

    reason: Reason | None
    standing: Standing | None
    error: Exception | None
    finished_at: float
    price: Price


@dataclass(slots=True, eq=False)
class Audit:
    """What one walk answered. An audited walker's own, and its shadow's after it.

    Attributes:
        keep: what of an answer is kept here, to be compared: of a classification, the class.
        worths: on a chain, at each exit the price from which on the walk leaves there.
        answers: on a chain, at each exit what was answered.
        walks: on a graph with ways to choose from, what was answered by the price that was walked at.
        probe: on such a graph, a price that a shadow shall walk at too.
        complete: the last answer is the full network's.
        closed: nothing more comes.
    """

    worths: list[Price] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    walks: dict[Price, Any] = field(default_factory=dict)
    probe: Price | None = None
    complete: bool = False
    closed: bool = False
    keep: Callable[[NDArray[Any]], Any] = lambda answer: int(answer.argmax())


@dataclass(frozen=True, slots=True)
class Reached:
    """An exit that a watched walker just passed: its answer so far, and what that had cost by then."""

    standing: Standing
    macs: int
    device_s: float
    stages: tuple[str, ...]
    full_macs: int | None = None
    """MACs of the full walk of this very input, where that isn't the same for all."""


class Payer(Protocol):
    """Whose quota a walk counts against: a tenant's account."""

    def holding(self, macs: int) -> AbstractContextManager[None]:
        """Set aside what a request may cost at most; raises QuotaExceeded."""

    def pay(self, macs: int) -> None:
        """A walk ran so much. Called by lane threads: it must return at once and never raise."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: what tells a request from others in logs and exemplars, and who pays for it."""

    request_id: str = ""
    payer: Payer | None = None


NOBODY = Caller()

Watcher = Callable[[Reached], None]
"""Whoever follows a walk exit by exit. Called by lane threads: it must return at once and never raise."""

Listener = Callable[["Walker", Outcome], None]
"""Whoever waits for a walker. Called once a walker, by lane threads: it must return at once and never raise."""


@dataclass(slots=True, eq=False)
class Walker:
    """One sample in flight. Owned by the conductor between `submit` and its outcome."""

    model: str
    terms: Terms
    arrived_at: float
    glimpses: dict[str, NDArray[Any]]
    """What the stage that it stands at asked for, by graph input: [...], or [rows, ...] where the stage is ragged."""
    listener: Listener
    watcher: Watcher | None = None
    caller: Caller = NOBODY
    slot: int = -1
    """Its row in the state pool; -1 once its shadow has it."""
    stage: int = 0
    since: float = 0.0
    """When it began to wait at its stage."""
    picks: NDArray[np.int64] | None = None
    """Which of its rows run at the ragged stage that it stands at, [rows]; None where the stage isn't ragged."""
    look: NDArray[np.float32] | None = None
    """Where the router wants its glimpses taken at that stage, [rows, coordinates]; None: where the stage says."""
    looking: bool = False
    """It stands at a stage whose glimpses are being made."""
    source: Any = None
    """The opened input, kept while a later stage may ask for another glimpse of it."""
    full_macs: int | None = None
    """MACs of the full walk of this very input, where that isn't the same for all."""
    ledger: Ledger = field(default_factory=Ledger)
    standing: Standing | None = None
    worth: Price = CHEAPEST
    """The price from which on it would rather leave with the standing answer than go on."""
    row: int = -1
    """Its row in the market's book."""
    late: bool = False
    """Its deadline can't be kept any more; it makes way for those that can be in time."""
    ticket: int = -1
    """Its number in the queues, new each time it begins to wait."""
    diverted: Reason | None = None
    """Why it was sent another way than its router would have chosen at its own price; None while it never was."""
    waiting: bool = False
    done: bool = False
    cancelled: bool = False
    trace: list[Step] | None = None
    audit: Audit | None = None
    """Where its answers at every exit are noted, if it was drawn to be audited."""
    shadow: bool = False
    """It finishes the walk of an audited walker whose answer is out; nobody waits for it."""

    @property
    def rows(self) -> int:
        """Rows that it brings to the stage that it stands at."""
        return 1 if self.picks is None else len(self.picks)

    @property
    def urgency_at(self) -> float:
        """What orders the queues, in seconds; the late come after everybody who isn't."""
        return self.terms.urgency_at + LATE_S if self.late else self.terms.urgency_at
