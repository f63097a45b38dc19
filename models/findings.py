"""What a model card tells of a package: measured on images that nothing was trained, tuned or chosen on."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.calibration.gain_maps import GainMaps
from models.calibration.scores import auroc, expected_calibration_error, worth_going_on
from models.calibration.walks import ExitAnswers, by_price, by_threshold
from service.package.curves import Curve
from service.package.load import Package
from service.package.manifest import DEFAULT_AGREEMENT

THRESHOLDS = np.round(np.concatenate([[1.01], np.linspace(0.995, 0.3, 140)]), 4)
NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Share:
    """`k` of `n`, with its Wilson 95 % interval; shares in 0..1."""

    k: int
    n: int

    @property
    def value(self) -> float:
        """k / n."""
        return self.k / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson score interval (Wilson, 1927)."""
        z = NORMAL_95
        centre = (self.k + z * z / 2) / (self.n + z * z)
        half = z * sqrt(self.k * (self.n - self.k) / self.n + z * z / 4) / (self.n + z * z)
        return centre - half, centre + half


@dataclass(frozen=True)
class ExitFinding:
    """One exit, forced for every image: accuracy, calibration error, and AUROC of 1 - score against "wrong here, right
    later" (nan at the last exit)."""

    name: str
    macs: int
    accuracy: Share
    calibration_error: float
    auroc: float


@dataclass(frozen=True)
class Operating:
    """A price or threshold on the test split: `mean_macs` of a walk, `accuracy`, `agreement` with the full network."""

    setting: float
    mean_macs: float
    accuracy: Share
    agreement: Share
    exit_shares: tuple[float, ...]


@dataclass(frozen=True)
class StaticNet:
    """A net without exits, or one fixed way through a net with several: `macs` for every image, and its time at batch 1
    where it was measured."""

    name: str
    macs: int
    accuracy: Share
    ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class PathFindings:
    """What every package has: the path of prices, and fixed nets to hold it against. `default` is the place of the
    default price in `prices`, the highest that is certified for an agreement of `promised`; `failing` is the image on
    which a walk at that price spoils the answer most surely."""

    full_macs: int
    prices: tuple[Operating, ...]
    statics: tuple[StaticNet, ...]
    default: int
    failing: int
    promised: float = DEFAULT_AGREEMENT

    def static_at(self, macs: float) -> float:
        """Accuracy of the line through the static nets at a cost between the smallest and the largest of them."""
        nets = sorted(self.statics, key=lambda net: net.macs)
        return float(np.interp(macs, [net.macs for net in nets], [net.accuracy.value for net in nets]))

    def crossing(self) -> float | None:
        """The MACs from which the price path stays above the static nets' line; None if it ends below it."""
        costs = [net.macs for net in self.statics]
        grid = np.linspace(max(self.prices[-1].mean_macs, min(costs)), max(costs), 400)
        below = [macs for macs in grid if (at_macs(self.prices, macs) or 0.0) <= self.static_at(macs)]
        if not below:
            return float(grid[0])
        return None if below[-1] == grid[-1] else float(below[-1])


@dataclass(frozen=True, kw_only=True)
class Findings(PathFindings):
    """All that the card of an early-exit package shows."""

    exits: tuple[ExitFinding, ...]
    thresholds: tuple[Operating, ...]


class PricedWalks(Protocol):
    """Walks at each of P prices, [P, n]: `predictions` int16, `exits` int8, `macs` int64."""

    @property
    def predictions(self) -> NDArray[np.int16]:
        """The class answered."""

    @property
    def exits(self) -> NDArray[np.int8]:
        """The exit taken."""

    @property
    def macs(self) -> NDArray[np.int64]:
        """Spent by the whole walk."""


def at_macs(path: Sequence[Operating], macs: float) -> float | None:
    """Accuracy of a path at a mean cost, between its two nearest points; None where it has nothing so cheap."""
    costs = [point.mean_macs for point in path]
    if macs < min(costs):
        return None
    order = np.argsort(costs)
    return float(np.interp(macs, np.array(costs)[order], [path[place].accuracy.value for place in order]))


def find(package: Package, answers: ExitAnswers, statics: Sequence[StaticNet]) -> Findings:
    """Findings from a package, its answers on the test split, and static nets measured on the same split."""
    tables, record = package.tables, package.record
    exit_macs = tables["exit_macs"]
    maps = GainMaps(tables["gain_edges"], tables["gain"])
    default = default_place(package)
    priced = by_price(answers, maps, exit_macs, record.prices)
    labels, full = answers.labels, answers.predictions[:, -1]
    by_score = by_threshold(answers, exit_macs, THRESHOLDS)
    leaving = priced.exits[default][:, None].astype(np.int64)
    score = np.take_along_axis(answers.scores, leaving, axis=1)[:, 0]
    return Findings(
        full_macs=package.graph.full_macs,
        exits=tuple(_exit(package, answers, place) for place in range(len(exit_macs))),
        prices=path(priced, record.prices, labels, full, len(exit_macs)),
        thresholds=path(by_score, THRESHOLDS, labels, full, len(exit_macs)),
        statics=tuple(statics),
        default=default,
        failing=spoilt(priced.predictions[default], score, labels, full),
    )


def default_place(package: Package) -> int:
    """Place of the default price in the package's record."""
    asked = package.manifest.default_agreement
    full = package.graph.full_macs
    curve = Curve(package.record, full, package.digest, "CPUExecutionProvider", default_agreement=asked)
    return int(np.flatnonzero(package.record.prices == curve.default.price)[0])


def path(
    walks: PricedWalks,
    settings: NDArray[np.float64],
    labels: NDArray[np.integer],
    full: NDArray[np.integer],
    exits: int,
) -> tuple[Operating, ...]:
    """One point for each setting; `labels` int [n], and `full` int [n], what the full network answers."""
    n = len(labels)
    right = (walks.predictions == labels).sum(axis=1)
    agreeing = (walks.predictions == full).sum(axis=1)
    return tuple(
        Operating(
            setting=float(setting),
            mean_macs=float(walks.macs[place].mean()),
            accuracy=Share(int(right[place]), n),
            agreement=Share(int(agreeing[place]), n),
            exit_shares=tuple(np.bincount(walks.exits[place], minlength=exits) / n),
        )
        for place, setting in enumerate(settings)
    )


def spoilt(
    predictions: NDArray[np.integer],
    scores: NDArray[np.floating],
    labels: NDArray[np.integer],
    full: NDArray[np.integer],
) -> int:
    """The image on which a walk was surest of a wrong answer where the full network is right; arrays [n].

    Without such an image (at the price "full"), the one on which it was surest of a wrong answer.
    """
    wrong = np.asarray(predictions != labels)
    lost = wrong & (full == labels)
    return int(np.argmax(np.where(lost if lost.any() else wrong, scores, -1.0)))


def _exit(package: Package, answers: ExitAnswers, place: int) -> ExitFinding:
    right, scores = answers.right, answers.scores[:, place]
    return ExitFinding(
        name=package.graph.exits[place],
        macs=int(package.tables["exit_macs"][place]),
        accuracy=Share(int(right[:, place].sum()), len(right)),
        calibration_error=expected_calibration_error(scores, right[:, place]),
        auroc=auroc(1 - scores, worth_going_on(right, place)),
    )
