"""`offramp explain`: one input's walk, stage by stage, without a server."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.answer import Answer
from service.api import budgets, render
from service.engine import Engine, Sample
from service.errors import Malformed
from service.model import limits
from service.settings import Settings
from service.task.base import Task

NAME = "explain"
HELP = "walk one file through a model and tell why it ended where it did"
_JOINTS = {"size": "x", "chars": ".."}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the file, and every budget key as a flag."""
    parser.add_argument("model")
    parser.add_argument("file", type=Path)
    for key in sorted(budgets.KEYS):
        parser.add_argument(f"--{key.replace('_', '-')}", dest=f"budget_{key}", metavar="X", help=f"budget: {key}")


def run(given: argparse.Namespace, settings: Settings) -> int:
    """Print the walk and the receipt."""
    texts = [(key, getattr(given, f"budget_{key}")) for key in budgets.KEYS]
    budget = budgets.merge(budgets.from_texts([pair for pair in texts if pair[1] is not None], source="the call"))
    try:
        data = given.file.read_bytes()
    except OSError as error:
        raise Malformed(f"{given.file}: {error.strerror}") from error
    engine = Engine(settings)
    engine.load()
    engine.start()
    try:
        model = engine.model(given.model)
        sample = Sample(
            lambda: model.open(data, None, limits(settings)),
            budget.budget(),
            time.monotonic(),
            explain=True,
        )
        (answer,) = asyncio.run(engine.predict(model, [sample]))
    finally:
        engine.stop()
    print(_story(answer, model.package.task))
    return 0


def _story(answer: Answer, task: Task) -> str:
    shown = render.answer(answer, "none")
    lines = [f"{'stage':<12}{'exit':<10}{'score':>8}{'price':>10}{'ms':>8}  verdict"]
    for step in shown["walk"]:
        score = "" if step["score"] is None else f"{step['score']:.4f}"
        cost = f"{step['price']:.3g}" if isinstance(step["price"], float) else step["price"]
        place = f"{step['stage']:<12}{step['exit'] or '':<10}"
        verdict = f"on to {step['next']}" if step["next"] else step["verdict"]
        verdict += _signals(step["signals"]) + _seen(step["seen"])
        lines.append(f"{place}{score:>8}{cost:>10}{step['stage_ms']:>8.2f}  {verdict}")
    compute = shown["compute"]
    lines.append(
        f"{task.headline(shown['output'])}; {shown['reason']} at {shown['exit']}: {compute['mmacs']:.1f} MMACs, "
        f"{compute['fraction_of_full']:.0%} of the full network, {shown['timing_ms']['total']:.1f} ms"
    )
    return "\n".join(lines)


def _signals(signals: Mapping[str, float | list[float]]) -> str:
    """What the router went by, as `; gate 0.31, threshold 0.5`."""
    told = [f"{name} {' '.join(f'{value:.3g}' for value in np.ravel(values))}" for name, values in signals.items()]
    return f"; {', '.join(told)}" if told else ""


def _seen(looks: Sequence[Mapping[str, Any]]) -> str:
    """What was looked at, as `; saw chars 0..256, chunk 0` or `; saw box 0,0,8,8, size 8x8`."""
    told = [
        f"{name} {_JOINTS.get(name, ',').join(f'{number:g}' for number in np.ravel(value))}"
        for look in looks
        for name, value in look.items()
        if not isinstance(value, str) and name != "points"
    ]
    return f"; saw {', '.join(told)}" if told else ""
