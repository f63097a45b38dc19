"""What a router is, and the registry that packages name them in.

To add a family, add a file to this folder with a class under `@register("its-name")`. Nothing else changes.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from service.errors import PackageError
from service.package.load import Package
from service.package.manifest import FILE

_REMEDY = "make it again with the package's recipe"
LEAVE = -1
"""In `Routing.next`: the row leaves at this stage's exit."""


class Routing(NamedTuple):
    """What a router says of a batch.

    Attributes:
        next: int16 [rows], index of the next stage, or LEAVE.
        answer: float32 [rows, ...], the calibrated answer that now stands; None after a stage without exit.
        score: float32 [rows] in 0..1, the calibrated score that was judged; None where nothing was.
        worth: float64 [rows], what going on from this exit is worth: the price from which on the row leaves here; -inf
            where there is nowhere to go on to. None after a stage without exit.
        signals: what was gone by, for `explain`: by name, floats [rows] or [rows, m].
        look: where the next stage's glimpses shall be taken: for each row None (where the stage says) or float32
            [k, coordinates], k = 1, or one for each picked row of a ragged stage. None: so for all rows.
        picks: which rows of a ragged next stage run: for each walker int64 [k], k >= 1, the most valuable first, since
            a limit may cut the tail; None for a walker whose next stage isn't ragged. None: so for all.
        full: int64 [rows], MACs of the full walk of this very input; None where that is the same for all.
        own: what would have been said at each row's own price; None where that is the same. Filled in by `routed`.
    """

    next: NDArray[np.int16]
    answer: NDArray[np.float32] | None = None
    score: NDArray[np.float32] | None = None
    worth: NDArray[np.float64] | None = None
    signals: Mapping[str, NDArray[Any]] | None = None
    look: Sequence[NDArray[np.float32] | None] | None = None
    picks: Sequence[NDArray[np.int64] | None] | None = None
    full: NDArray[np.int64] | None = None
    own: Routing | None = None


class Router(Protocol):
    """The rule after each stage of one package. Pure: same arrays, same routing.

    At the price FULL a walk takes the dearest way, at CHEAPEST the cheapest; a higher price never takes a dearer one.
    Only after a stage with an exit may a row leave. After a ragged stage nothing is asked: one stage follows. Where a
    chain looks next must not depend on the price.
    """

    def __init__(self, package: Package) -> None:
        """Take parameters and tables from a package; raises PackageError where they don't fit it."""

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """Route a batch after `stage`; `outputs` by tensor name, `prices` float64 [rows]."""


_ROUTERS: dict[str, type[Router]] = {}


def register(name: str) -> Callable[[type[Router]], type[Router]]:
    """Class decorator: make a router available to packages under this name."""

    def add(router: type[Router]) -> type[Router]:
        _ROUTERS[name] = router
        return router

    return add


def known() -> dict[str, type[Router]]:
    """Every registered router by name."""
    folder = importlib.import_module("service.routing")
    for module in pkgutil.iter_modules(folder.__path__):
        importlib.import_module(f"service.routing.{module.name}")
    return dict(_ROUTERS)


def straight(rows: int, after: int) -> Routing:
    """All rows go on to one stage: what is said after a ragged one."""
    return Routing(np.full(rows, after, np.int16))


def routed(
    router: Router,
    stage: int,
    outputs: Mapping[str, NDArray[Any]],
    prices: NDArray[np.float64],
    own_prices: NDArray[np.float64] | None,
) -> Routing:
    """Route a batch at `prices`, and where load has raised those, say as well where each row's own would have led.

    A row that takes another way than its own price would is forced: no certificate speaks of it. Where rows leave,
    `worth` tells that already.
    """
    routing = router.route(stage, outputs, prices)
    if own_prices is None:
        return routing
    return routing._replace(own=router.route(stage, outputs, own_prices))


def misfit(package: Package, table: str, problem: str) -> PackageError:
    """The error for a table that doesn't fit the stages."""
    return PackageError(package.path / package.manifest.calibration.file, table, problem, _REMEDY)


def misbuilt(package: Package, problem: str) -> PackageError:
    """The error for stages that a router can't walk."""
    return PackageError(package.path / FILE, "stages", problem, _REMEDY)


def build(package: Package) -> Router:
    """The router that the package names.

    Raises:
        PackageError: no such router here, or its tables don't fit the package.
    """
    routers = known()
    name = package.manifest.router.name
    if name not in routers:
        raise PackageError(
            package.path / "package.yaml", "router.name", f"no router {name!r}", f"use one of {sorted(routers)}"
        )
    return routers[name](package)
