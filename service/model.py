"""A model that is served: its package, wired to router, sessions, state pool and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.auditor import Auditor, Sampling
from service.core import CHEAPEST, FULL, NEVER, Budget, Terms, Walker
from service.errors import PackageError
from service.media.image import ImageLimits
from service.media.source import Limits, Source, open_source
from service.media.text import TextLimits, tokenizer
from service.media.uploads import Payload
from service.media.video import VideoLimits
from service.monitor.monitor import Monitor
from service.package.curves import Curve
from service.package.glimpses import TokensGlimpse
from service.package.load import Package, load
from service.package.manifest import FILE
from service.package.stage import Stage
from service.routing.base import Router, build
from service.runtime.onnx import PROVIDERS, ModelSessions, open_lanes, state_shapes
from service.runtime.states import StatePool
from service.scheduler.course import Course
from service.scheduler.estimator import StageTimes
from service.settings import Settings
from service.telemetry import Metrics, ModelTelemetry

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_REPEATS = 5
_LONGEST_S = 0.1
"""Most seconds for one stage and batch size: a server of many large models has to start, too."""


@dataclass(frozen=True, slots=True)
class Model:
    """Everything that serving one package needs, one `ModelSessions` a lane."""

    package: Package
    curve: Curve
    router: Router
    pool: StatePool
    lanes: Sequence[ModelSessions]
    course: Course
    telemetry: ModelTelemetry
    auditor: Auditor

    @property
    def name(self) -> str:
        """The name under which it is served."""
        return self.package.name

    def open(self, data: Payload, content_type: str | None, limits: Limits) -> Source:
        """Open a body as what this model reads.

        Raises:
            RequestError: not that, broken, or above a limit.
        """
        return open_source(self.package.manifest.modality, data, content_type, limits, self.package.path)

    def most_macs(self, budget: Budget) -> int:
        """What a walk under that budget can cost at most."""
        full = self.package.graph.full_macs
        return full if budget.compute_mmacs is None else min(full, round(budget.compute_mmacs * 1e6))


def limits(settings: Settings) -> Limits:
    """What an input may be."""
    return Limits(
        image=ImageLimits(max_bytes=settings.max_body_bytes, max_pixels=settings.max_pixels),
        text=TextLimits(max_bytes=settings.max_text_bytes),
        video=VideoLimits(
            max_bytes=settings.max_video_bytes,
            max_seconds=settings.max_video_seconds,
            max_frames=settings.max_video_frames,
            max_pixels=settings.max_video_pixels,
            max_decode_s=settings.max_video_decode_s,
        ),
    )


def find(folders: Sequence[Path]) -> list[Path]:
    """The package folders within folders, or the folders themselves where they are packages, by name.

    Raises:
        PackageError: a folder that doesn't exist.
    """
    found = []
    for folder in folders:
        if not folder.is_dir():
            raise PackageError(folder, "(folder)", "does not exist", "name a folder of packages with --models")
        candidates = [folder, *sorted(folder.iterdir())]
        found += [candidate for candidate in candidates if (candidate / FILE).is_file()]
    return found


def prepare(path: Path, settings: Settings, metrics: Metrics) -> Model:
    """Load a package, open its sessions on every lane and measure its stages.

    Raises:
        PackageError: the package can't be served as it is.
        SettingsError: the device that the settings ask for isn't there.
    """
    package = load(path)
    _open_tokenizers(package)
    curve = Curve(
        package.record,
        package.graph.full_macs,
        package.digest,
        PROVIDERS[settings.device],
        package.manifest.precision,
        package.manifest.default_agreement,
    )
    # A quarter of a second that the first look at the model would otherwise spend on the event loop.
    _ = curve.points
    rows = min(settings.max_batch_rows, settings.max_in_flight)
    device, threads = settings.device, settings.lane_threads
    opened = open_lanes(package, device=device, threads=threads, max_rows=rows, lanes=settings.lanes)
    pool = StatePool(settings.max_in_flight, state_shapes(opened[0]), spare=settings.max_shadows)
    lanes = [ModelSessions(package, stages, pool) for stages in opened]
    router = build(package)
    times = profile(package, lanes, router)
    telemetry = ModelTelemetry(metrics, package.name, package.graph)
    return Model(
        package=package,
        curve=curve,
        router=router,
        pool=pool,
        lanes=lanes,
        course=Course.of(package.graph, times, package.record),
        telemetry=telemetry,
        auditor=_auditor(package, curve, telemetry, settings),
    )


def _open_tokenizers(package: Package) -> None:
    """Read what the first texts would otherwise wait for."""
    glimpses = [glimpse for stage in package.manifest.stages for glimpse in stage.glimpses.values()]
    for file in {glimpse.file for glimpse in glimpses if isinstance(glimpse, TokensGlimpse)}:
        try:
            tokenizer(package.path / file)
        except Exception as error:  # the library raises nothing more precise
            problem, remedy = f"no tokenizer: {error}", "make it again with the package's recipe"
            raise PackageError(package.path / file, "(whole file)", problem, remedy) from error


def _auditor(package: Package, curve: Curve, telemetry: ModelTelemetry, settings: Settings) -> Auditor:
    """Only on a chain does a walk at the full price pass all the exits at which a walk at any other might end."""
    monitor = Monitor(curve, alpha=settings.alarm_alpha, whole_path=package.graph.chain, task=package.task)
    return Auditor(package.name, monitor, telemetry, Sampling(settings.shadow_share, settings.max_shadows))


def profile(package: Package, lanes: Sequence[ModelSessions], router: Router) -> list[StageTimes]:
    """Times of each stage by batch rows, on the path that serving takes; also the warm-up of every lane.

    A batch that would take longer than `_LONGEST_S` is not tried: from there on a stage's time grows with its rows.
    """
    for lane in lanes[1:]:
        _profile(package, lane, router, [1], repeats=1)
    most = lanes[0].max_rows
    sizes = sorted({size for size in _SIZES if size < most} | {most})
    times = [StageTimes(*by_size) for by_size in _profile(package, lanes[0], router, sizes, repeats=_REPEATS)]
    # Laps share the times of their stage, so that each teaches all.
    return [times[stage] for stage in package.graph.stage_of]


def _profile(
    package: Package, lane: ModelSessions, router: Router, sizes: Sequence[int], *, repeats: int
) -> list[tuple[list[int], list[float]]]:
    """For each stage the batch sizes that were tried, and their median seconds, for blank inputs."""
    found: list[tuple[list[int], list[float]]] = [([], []) for _ in package.manifest.stages]
    for rows in sizes:
        work = StageWork.of(package, lane, router, rows)
        for stage, (tried, seconds) in enumerate(found):
            if not tried or seconds[-1] * rows / tried[-1] <= _LONGEST_S:
                tried.append(rows)
                seconds.append(work.seconds(package.graph.first_place(stage), repeats))
    return found


def blank_walker(package: Package, slot: int) -> Walker:
    """A walker with an all-zero input, for warm-up and benchmarks: it wants the full network and waits for nobody."""
    glimpses = {name: view for stage in package.manifest.stages for name, view in blank_glimpses(stage).items()}
    terms = Terms(FULL, CHEAPEST, NEVER, package.graph.full_macs, 0.0)
    return Walker(package.name, terms, 0.0, glimpses, lambda *_: None, slot=slot)


def blank_glimpses(stage: Stage) -> dict[str, NDArray[Any]]:
    """One row of every glimpse that the stage asks for, and the first of a ragged stage's rows."""
    return {
        name: np.zeros((1, *spec.shape) if stage.ragged else spec.shape, spec.dtype)
        for name, spec in stage.glimpses.items()
    }


@dataclass(frozen=True, slots=True)
class StageWork:
    """A batch as a lane would run it: gather, run, route, keep. Slots 0.. of the pool must be free."""

    package: Package
    lane: ModelSessions
    router: Router
    walkers: Sequence[Walker]
    prices: NDArray[np.float64]

    @classmethod
    def of(cls, package: Package, lane: ModelSessions, router: Router, rows: int) -> StageWork:
        """Blank walkers at the price "full"."""
        walkers = [blank_walker(package, slot) for slot in range(rows)]
        return cls(package, lane, router, walkers, np.full(rows, FULL))

    def run(self, stage: int) -> None:
        """Run and route one stage, by its place, and keep the state of every row."""
        if self.package.graph.looks[stage]:
            # Stages that share a graph ask for views of different sizes by the same name.
            for walker in self.walkers:
                walker.glimpses.update(blank_glimpses(self.package.stage(stage)))
        outputs = self.lane.run(stage, self.walkers)
        if self.package.graph.rows[stage] == 1:
            self.router.route(stage, outputs, self.prices)
        self.lane.keep(stage, self.walkers, range(len(self.walkers)))

    def seconds(self, stage: int, repeats: int = _REPEATS) -> float:
        """Median seconds of a few runs, fewer of long ones, after one that counts for nothing."""
        for walker in self.walkers:
            walker.picks = np.zeros(1, np.int64) if self.package.graph.rows[stage] > 1 else None
        self.run(stage)
        taken = [self._once(stage)]
        while len(taken) < repeats and sum(taken) < _LONGEST_S:
            taken.append(self._once(stage))
        return median(taken)

    def _once(self, stage: int) -> float:
        start = perf_counter()
        self.run(stage)
        return perf_counter() - start
