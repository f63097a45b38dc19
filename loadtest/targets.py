"""`python -m loadtest.targets`: are certified targets kept on images that were never seen here?

Every image of the dev test split is asked for under each target, of the whole server but its sockets; right answers,
and those that agree with the full network's, are counted. A target is held where the promised share is not below what
the count allows: by an exact binomial test, at 1 in 1,000. Certificates promise an average over inputs like the
calibration data; this is a draw of such inputs, not a proof.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtest.images import Images, cifar10
from service.core import Budget
from service.engine import Engine, Sample
from service.errors import ImpossibleBudget
from service.media.source import Limits, Source, open_source
from service.package.certificates import binomial_cdf
from service.settings import ZOO, Settings

TARGETS: dict[str, tuple[float, ...]] = {
    "accuracy": (0.85, 0.87, 0.88),
    "agreement": (0.95, 0.98, 0.99),
    "max_drop": (0.005, 0.01, 0.02),
}
_CHUNK = 50
_REFUTED = 1e-3


@dataclass(frozen=True, slots=True)
class Kept:
    """One target: what was promised, and what came of `n` images."""

    model: str
    kind: str
    target: float
    n: int
    share: float
    """Measured: of right answers, of agreeing ones, or (max_drop) of spoilt ones."""
    held: bool
    fraction_of_full: float


def answers(engine: Engine, model: str, images: Images, budget: Budget) -> tuple[NDArray[np.int64], float]:
    """Classes answered, int64 [n], and the mean share of the full network's MACs."""
    served, now = engine.model(model), time.monotonic

    def opener(data: bytes) -> Callable[[], Source]:
        return lambda: open_source("image", data, "image/jpeg", Limits())

    async def ask() -> list[Any]:
        told = []
        for start in range(0, len(images.files), _CHUNK):
            samples = [Sample(opener(data), budget, now()) for data in images.files[start : start + _CHUNK]]
            told += await engine.predict(served, samples)
        return told

    told = asyncio.run(ask())
    classes = np.array([int(answer.standing.output.argmax()) for answer in told])
    return classes, float(np.mean([answer.fraction_of_full for answer in told]))


def asking(kind: str, target: float) -> Budget:
    """A budget of one target."""
    return dataclasses.replace(Budget(), **{kind: target})  # type: ignore[arg-type]


def check(engine: Engine, model: str, images: Images) -> list[Kept]:
    """All targets of one model. Those that it can't certify are left out."""
    names = engine.model(model).package.labels
    truth = np.array([names.index(label) for label in images.labels])
    full, _ = answers(engine, model, images, Budget(agreement=1.0))
    found = []
    for kind, target in ((kind, target) for kind, targets in TARGETS.items() for target in targets):
        try:
            given, spent = answers(engine, model, images, asking(kind, target))
        except ImpossibleBudget:
            continue
        good = {
            "accuracy": given == truth,
            "agreement": given == full,
            "max_drop": ~((full == truth) & (given != truth)),
        }[kind]
        promised = 1 - target if kind == "max_drop" else target
        share = float(good.mean())
        held = binomial_cdf(int(good.sum()), len(good), promised) > _REFUTED
        shown = 1 - share if kind == "max_drop" else share
        found.append(Kept(model, kind, target, len(good), round(shown, 5), bool(held), round(spent, 4)))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.targets", description="Are certified targets kept on images never seen here?"
    )
    parser.add_argument("models", nargs="*", default=["cifar10-early-exit"], help="shipped CIFAR-10 models")
    parser.add_argument("--images", type=int, default=5_000, help="how many of the split")
    given = parser.parse_args(arguments)
    images = cifar10()
    images = Images(images.files[: given.images], images.labels[: given.images])
    engine = Engine(Settings(models=tuple(ZOO / name for name in given.models), shadow_share=0.0))
    engine.load()
    engine.start()
    try:
        found = [kept for model in given.models for kept in check(engine, model, images)]
    finally:
        engine.stop()
    print(json.dumps([dataclasses.asdict(kept) for kept in found], indent=1))


if __name__ == "__main__":
    main()
