"""What a model card tells of a package whose walks are routes through a graph: skipped blocks, widths, branches.

A route is the stages that a walk runs. Beside accuracy, compute and time by price the findings hold who runs what: a
gate that decides the same for every input is static pruning, and shows here as a rate of 0 or 1, or as one route.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.calibration.scores import expected_calibration_error
from models.findings import Operating, PathFindings, Share, StaticNet, default_place, path, spoilt
from service.package.load import Package

TOP_ROUTES = 10
CONSTANT = 0.005
"""A stage that fewer than this share of the inputs runs, or fewer than this share skips, decides nothing."""


class RouteWalks(Protocol):
    """Walks of n samples at the P prices of a package's record, as models.calibration.traverse makes them."""

    @property
    def predictions(self) -> NDArray[np.int16]:
        """The class answered, [P, n]."""

    @property
    def exits(self) -> NDArray[np.int8]:
        """The exit taken, [P, n]."""

    @property
    def macs(self) -> NDArray[np.int64]:
        """Spent by the whole walk, [P, n]."""

    @property
    def routes(self) -> NDArray[np.uint16]:
        """How often each stage runs, by route: [R, S]."""

    @property
    def route(self) -> NDArray[np.int32]:
        """Index into `routes`, [P, n]."""

    @property
    def answers(self) -> NDArray[np.float32]:
        """Calibrated probabilities [P, n, classes], or their largest ones [P, n]."""


@dataclass(frozen=True, kw_only=True)
class RoutePoint(Operating):
    """A price on the test split, with the mean time of its walks at batch 1 and its answers' calibration error."""

    mean_ms: float
    calibration_error: float
    distinct_routes: int


@dataclass(frozen=True)
class RouteShare:
    """One route: the optional stages that it runs, as `name` or `name x2`, its MACs, and the share of inputs on it."""

    stages: tuple[str, ...]
    macs: int
    share: Share


@dataclass(frozen=True)
class Decision:
    """An optional stage at one price: which share of the inputs runs it, and how that differs between inputs.

    `by_class` are the rates of the classes in label order; `variance` is rate x (1 - rate), 0 where nothing is decided
    and at most 0.25; `class_share` is the part of that variance that lies between classes.
    """

    stage: str
    rate: float
    by_class: tuple[float, ...]
    class_share: float

    @property
    def variance(self) -> float:
        """Of running or not, over inputs."""
        return self.rate * (1 - self.rate)

    @property
    def constant(self) -> bool:
        """Whether it decides (almost) the same for every input."""
        return min(self.rate, 1 - self.rate) < CONSTANT


@dataclass(frozen=True)
class RouteUse:
    """Who takes which route at one price: `point` is its place in `prices`. `entropy` in bits; `rest` beyond `top`."""

    point: int
    distinct: int
    entropy: float
    top: tuple[RouteShare, ...]
    rest: Share
    decisions: tuple[Decision, ...]


@dataclass(frozen=True)
class FailingCase:
    """An image that the default walk gets wrong: what it says after which optional stages, and what the full one."""

    row: int
    label: str
    answer: str
    score: float
    full_answer: str
    full_score: float
    stages: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RouteFindings(PathFindings):
    """All that the card shows. `fixed` are ways forced for every image, such as each width; `uses` are those of the
    default price and of a cheaper one."""

    prices: tuple[RoutePoint, ...]
    exits: tuple[str, ...]
    labels: tuple[str, ...]
    fixed: tuple[StaticNet, ...]
    uses: tuple[RouteUse, RouteUse]
    case: FailingCase


def find(
    package: Package,
    walks: RouteWalks,
    labels: NDArray[np.integer],
    statics: Sequence[StaticNet],
    stage_ms: Mapping[str, float],
    fixed: Sequence[StaticNet] = (),
) -> RouteFindings:
    """Findings from walks of the test split at the prices of the package's record.

    Args:
        package: as the server reads it.
        walks: of n test images.
        labels: int [n], their true classes.
        statics: nets without routing, measured on the same split.
        stage_ms: milliseconds of each stage at batch 1 on one thread, by name (models.timing).
        fixed: ways through this package forced for every image, measured on the same split.

    Raises:
        ValueError: the walks are at other prices than the record's, or of other images than the labels.
    """
    shape = (len(package.record.prices), len(labels))
    if walks.predictions.shape != shape:
        raise ValueError(f"walks of shape {walks.predictions.shape}, expected (prices, labels) = {shape}")
    default = default_place(package)
    points = _points(package, walks, labels, stage_ms)
    scores, full = _scores(walks), walks.predictions[0]
    failing = spoilt(walks.predictions[default], scores[default], labels, full)
    return RouteFindings(
        full_macs=package.graph.full_macs,
        promised=package.manifest.default_agreement,
        prices=points,
        statics=tuple(statics),
        default=default,
        failing=failing,
        exits=package.graph.exits,
        labels=package.labels,
        fixed=tuple(fixed),
        uses=(_use(package, walks, labels, default), _use(package, walks, labels, _cheaper(points, default))),
        case=_case(package, walks, labels, (default, failing)),
    )


def optional(walks: RouteWalks) -> NDArray[np.bool_]:
    """Stages that some taken route runs more often than another: bool [S]."""
    taken = walks.routes[np.unique(walks.route)]
    return np.asarray(taken.min(axis=0) < taken.max(axis=0))


def decisions(
    walks: RouteWalks, place: int, names: Sequence[str], labels: NDArray[np.integer], classes: int
) -> tuple[Decision, ...]:
    """Every optional stage at the price of that place."""
    ran = walks.routes[walks.route[place]] > 0
    counts = np.bincount(labels, minlength=classes)
    found = []
    for stage in np.flatnonzero(optional(walks)).tolist():
        rates = np.bincount(labels, weights=ran[:, stage], minlength=classes) / np.maximum(counts, 1)
        rate = float(ran[:, stage].mean())
        between = float((counts * (rates - rate) ** 2).sum() / counts.sum())
        share = between / (rate * (1 - rate)) if 0 < rate < 1 else 0.0
        found.append(Decision(names[stage], rate, tuple(rates[counts > 0].tolist()), share))
    return tuple(found)


def _points(
    package: Package, walks: RouteWalks, labels: NDArray[np.integer], stage_ms: Mapping[str, float]
) -> tuple[RoutePoint, ...]:
    times = walks.routes @ np.array([stage_ms[name] for name in package.graph.names])
    scores, right = _scores(walks), np.asarray(walks.predictions == labels)
    plain = path(walks, package.record.prices, labels, walks.predictions[0], len(package.graph.exits))
    return tuple(
        RoutePoint(
            **vars(point),
            mean_ms=float(times[walks.route[place]].mean()),
            calibration_error=expected_calibration_error(scores[place], right[place]),
            distinct_routes=len(np.unique(walks.route[place])),
        )
        for place, point in enumerate(plain)
    )


def _scores(walks: RouteWalks) -> NDArray[np.float32]:
    return walks.answers.max(axis=2) if walks.answers.ndim == 3 else walks.answers


def _cheaper(points: Sequence[Operating], default: int) -> int:
    """The price whose walks cost nearest to half way from the default's to the cheapest."""
    aim = (points[default].mean_macs + points[-1].mean_macs) / 2
    return min(range(default, len(points)), key=lambda place: abs(points[place].mean_macs - aim))


def _use(package: Package, walks: RouteWalks, labels: NDArray[np.integer], place: int) -> RouteUse:
    names, n = package.graph.names, len(labels)
    routes, counts = np.unique(walks.route[place], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:TOP_ROUTES]
    shares = counts / n
    top = tuple(
        RouteShare(
            stages=_run(walks, routes[position], names),
            macs=int(walks.routes[routes[position]] @ np.array(package.graph.macs)),
            share=Share(int(counts[position]), n),
        )
        for position in order
    )
    return RouteUse(
        point=place,
        distinct=len(routes),
        entropy=float(-(shares * np.log2(shares)).sum()) + 0.0,
        top=top,
        rest=Share(n - sum(route.share.k for route in top), n),
        decisions=decisions(walks, place, names, labels, len(package.labels)),
    )


def _run(walks: RouteWalks, route: int, names: Sequence[str]) -> tuple[str, ...]:
    """The optional stages of a route."""
    times = walks.routes[route]
    places = [place for place in np.flatnonzero(optional(walks)).tolist() if times[place]]
    return tuple(names[place] + (f" x{times[place]}" if times[place] > 1 else "") for place in places)


def _case(package: Package, walks: RouteWalks, labels: NDArray[np.integer], at: tuple[int, int]) -> FailingCase:
    (place, row), scores = at, _scores(walks)
    return FailingCase(
        row=row,
        label=package.labels[labels[row]],
        answer=package.labels[walks.predictions[place, row]],
        score=float(scores[place, row]),
        full_answer=package.labels[walks.predictions[0, row]],
        full_score=float(scores[0, row]),
        stages=_run(walks, walks.route[place, row], package.graph.names),
    )
