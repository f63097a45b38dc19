"""What a model card tells of a package: measured on images that nothing was trained, tuned or chosen on."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from models.calibration.gain_maps import GainMaps
from models.calibration.scores import auroc, expected_calibration_error, worth_going_on
from models.calibration.walks import ExitAnswers, Walks, by_price, by_threshold
from service.package.curves import Curve
from service.package.load import Package

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
    """A price or threshold on the test split: `mean_macs` of a walk, `accuracy`, `agreement` with the last exit."""

    setting: float
    mean_macs: float
    accuracy: Share
    agreement: Share
    exit_shares: tuple[float, ...]


@dataclass(frozen=True)
class StaticNet:
    """A net without exits: `macs` for every image."""

    name: str
    macs: int
    accuracy: Share


@dataclass(frozen=True)
class Findings:
    """All that the card shows. `default` is the place of the default price in `prices`."""

    full_macs: int
    exits: tuple[ExitFinding, ...]
    prices: tuple[Operating, ...]
    thresholds: tuple[Operating, ...]
    statics: tuple[StaticNet, ...]
    default: int
    failing: int

    def at_macs(self, path: Sequence[Operating], macs: float) -> float | None:
        """Accuracy of a path at a mean cost, between its two nearest points; None where it has nothing so cheap."""
        costs = [point.mean_macs for point in path]
        if macs < min(costs):
            return None
        order = np.argsort(costs)
        return float(np.interp(macs, np.array(costs)[order], [path[place].accuracy.value for place in order]))

    def static_at(self, macs: float) -> float:
        """Accuracy of the line through the static nets at a cost between the smallest and the largest of them."""
        nets = sorted(self.statics, key=lambda net: net.macs)
        return float(np.interp(macs, [net.macs for net in nets], [net.accuracy.value for net in nets]))

    def crossing(self) -> float | None:
        """The MACs from which the price path stays above the static nets' line; None if it ends below it."""
        dearest = max(net.macs for net in self.statics)
        grid = np.linspace(self.prices[-1].mean_macs, dearest, 400)
        below = [macs for macs in grid if (self.at_macs(self.prices, macs) or 0.0) <= self.static_at(macs)]
        if not below:
            return float(grid[0])
        return None if below[-1] == grid[-1] else float(below[-1])


def find(package: Package, answers: ExitAnswers, statics: Sequence[StaticNet]) -> Findings:
    """Findings from a package, its answers on the test split, and static nets measured on the same split."""
    tables, record = package.tables, package.record
    exit_macs = tables["exit_macs"]
    maps = GainMaps(tables["gain_edges"], tables["gain"])
    curve = Curve(record, package.graph.full_macs, package.digest, "CPUExecutionProvider")
    default = int(np.flatnonzero(record.prices == curve.default.price)[0])
    priced = by_price(answers, maps, exit_macs, record.prices)
    return Findings(
        full_macs=package.graph.full_macs,
        exits=tuple(_exit(package, answers, place) for place in range(len(exit_macs))),
        prices=_path(answers, priced, record.prices),
        thresholds=_path(answers, by_threshold(answers, exit_macs, THRESHOLDS), THRESHOLDS),
        statics=tuple(statics),
        default=default,
        failing=_failing(answers, priced, default),
    )


def _exit(package: Package, answers: ExitAnswers, place: int) -> ExitFinding:
    right, scores = answers.right, answers.scores[:, place]
    return ExitFinding(
        name=package.graph.exits[place],
        macs=int(package.tables["exit_macs"][place]),
        accuracy=Share(int(right[:, place].sum()), len(right)),
        calibration_error=expected_calibration_error(scores, right[:, place]),
        auroc=auroc(1 - scores, worth_going_on(right, place)),
    )


def _path(answers: ExitAnswers, walks: Walks, settings: NDArray[np.float64]) -> tuple[Operating, ...]:
    n, exits = len(answers.labels), answers.scores.shape[1]
    right = (walks.predictions == answers.labels).sum(axis=1)
    agreeing = (walks.predictions == answers.predictions[:, -1]).sum(axis=1)
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


def _failing(answers: ExitAnswers, walks: Walks, price: int) -> int:
    """The image on which the walk at a price left early, sure of a wrong answer, where the last exit is right."""
    lost = (walks.predictions[price] != answers.labels) & answers.right[:, -1]
    score = np.take_along_axis(answers.scores, walks.exits[price][:, None].astype(np.int64), axis=1)[:, 0]
    return int(np.argmax(np.where(lost, score, -1.0)))
