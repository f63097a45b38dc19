"""How much more do stages cost than one graph at equal work?

Staged execution here is all that serving adds: gathering rows from the state pool, one session a stage, the router
with the price "full", keeping the state of the rows that go on. The whole is the same graphs joined into one session,
with buffers bound once as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from service.errors import SettingsError
from service.model import StageWork
from service.package.load import Package
from service.routing.base import build
from service.runtime.onnx import PROVIDERS, ModelSessions, open_stages, session_options, state_shapes
from service.runtime.states import StatePool
from service.settings import Settings

_ROUNDS = 31
_ROUND_S = 0.02
"""Each round times both for about so long, in turns, so that a slow moment of the machine hits both."""


@dataclass(frozen=True, slots=True)
class Staging:
    """Median seconds of a batch, run whole and in stages, and the median of the rounds' ratios."""

    whole_s: float
    staged_s: float
    ratio: float


def joinable(package: Package) -> bool:
    """Whether the full walk can be one graph: it looks once, without loop or rows that may be left out."""
    graph = package.graph
    return not graph.looks_again and max(graph.lap_of) == 0 and max(graph.rows) == 1 and not _renames(package)


def _renames(package: Package) -> bool:
    """Whether a state goes by another name in a graph: there the graphs don't join by their tensors' names."""
    roles = [each for stage in package.manifest.stages for each in (stage.reads, stage.writes)]
    return any(port != name for each in roles for port, name in each.items())


def staged_over_whole(package: Package, rows: int, settings: Settings) -> Staging:
    """Time a batch both ways.

    Raises:
        SettingsError: the `onnx` package isn't installed; it joins the stages.
    """
    whole, staged = _whole(package, rows, settings), _staged(package, rows, settings)
    once = max(_seconds(whole, 1), _seconds(staged, 1))
    repeats = max(1, round(_ROUND_S / once))
    pairs = [(_seconds(whole, repeats), _seconds(staged, repeats)) for _ in range(_ROUNDS)]
    return Staging(
        whole_s=median(one for one, _ in pairs),
        staged_s=median(other for _, other in pairs),
        ratio=median(other / one for one, other in pairs),
    )


def _seconds(work: Callable[[], None], repeats: int) -> float:
    start = perf_counter()
    for _ in range(repeats):
        work()
    return (perf_counter() - start) / repeats


def _staged(package: Package, rows: int, settings: Settings) -> Callable[[], None]:
    stages = open_stages(package, device=settings.device, threads=settings.lane_threads, max_rows=rows)
    lane = ModelSessions(package, stages, StatePool(rows, state_shapes(stages)))
    work = StageWork.of(package, lane, build(package), rows)

    def run() -> None:
        for stage in package.graph.dearest_way:
            work.run(stage)

    return run


def _whole(package: Package, rows: int, settings: Settings) -> Callable[[], None]:
    import onnxruntime as ort

    options = session_options(settings.lane_threads)
    session = ort.InferenceSession(_joined(package), options, providers=[PROVIDERS[settings.device]])
    binding = session.io_binding()
    for name, spec in package.manifest.stages[0].glimpses.items():
        image = np.zeros((rows, *spec.shape), spec.dtype)
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(image))
    for node in session.get_outputs():
        value = np.zeros((rows, *node.shape[1:]), np.float32)
        binding.bind_ortvalue_output(node.name, ort.OrtValue.ortvalue_from_numpy(value))
    return lambda: session.run_with_iobinding(binding)


def _joined(package: Package) -> bytes:
    """The stages of the full walk as one ONNX graph that gives every exit's answer."""
    try:
        import onnx
        from onnx import compose
    except ImportError as error:
        raise SettingsError("bench joins the stages with onnx: pip install 'offramp[models]'") from error
    whole: Any = None
    way = package.graph.dearest_way
    for step, place in enumerate(way):
        stage, before = package.manifest.stages[place], way[:step]
        part = compose.add_prefix(onnx.load(package.path / stage.graph), f"stage{place}/")
        if whole is None:
            whole = part
            continue
        io_map = [(_maker(package, before, name), f"stage{place}/{name}") for name in stage.inputs]
        passed = [(i, package.manifest.stages[i].answer) for i in before]
        answers = [f"stage{i}/{answer}" for i, answer in passed if answer]
        made = [f"stage{place}/{name}" for name in stage.outputs]
        whole = compose.merge_models(whole, part, io_map, outputs=[*answers, *made])
    _restore(whole, package)
    return bytes(whole.SerializeToString())


def _maker(package: Package, before: Sequence[int], state: str) -> str:
    """Prefixed name of a state tensor, at the last stage on the way that makes it."""
    made = [place for place in before if state in package.manifest.stages[place].outputs]
    return f"stage{made[-1]}/{state}"


def _restore(whole: Any, package: Package) -> None:
    """Give the inputs their own names back."""
    for name in package.manifest.stages[0].inputs:
        for node in whole.graph.node:
            for at, used in enumerate(node.input):
                if used == f"stage0/{name}":
                    node.input[at] = name
        for value in whole.graph.input:
            if value.name == f"stage0/{name}":
                value.name = name
