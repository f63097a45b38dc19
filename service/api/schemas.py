"""The shapes of answers, as OpenAPI shows them. `render` makes plain dictionaries; a test holds them to these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

PriceShown = float | Literal["full", "cheapest"]
"""A price as JSON can carry it: -inf and +inf have names."""


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Ranked(_Shape):
    """A label with its calibrated probability."""

    label: str
    probability: float


class Classification(Ranked):
    """The most probable label, and those behind it."""

    top: list[Ranked]


class Area(_Shape):
    """A class of a map: its share of the pixels, and the mean probability of those."""

    label: str
    share: float
    probability: float


class ClassMap(_Shape):
    """A class for every pixel of the picture that the model sees, in the form that `map` asks for."""

    height: int
    width: int
    runs: list[int] | None = Field(
        None, description="Class, length, class, length, .. row by row; a class is a place in the model's `labels`."
    )
    png: str | None = Field(None, description="Base64 of a PNG with a palette; a pixel's value is its class.")


class Segmentation(_Shape):
    """The classes' shares of the area, largest first, and the map."""

    classes: list[Area]
    map: ClassMap | None = None


class Box(_Shape):
    """One thing: `box` is top, left, bottom, right, in shares of the picture that the model sees."""

    label: str
    probability: float
    box: list[float]


class Detection(_Shape):
    """The things found, likeliest first."""

    boxes: list[Box]


class Compute(_Shape):
    """What the walk cost."""

    mmacs: float = Field(description="Millions of multiply-adds spent.")
    fraction_of_full: float = Field(description="Share of the full network's multiply-adds.")
    device_ms: float = Field(description="Share of the batches' device time, in ms.")
    stages: list[str] = Field(description="Stages run, in order.")


class BudgetReceipt(_Shape):
    """What was asked, and what came of it."""

    asked: dict[str, Any]
    met: bool = Field(description="Whether every budget that was asked is kept.")
    price: PriceShown = Field(description="Expected correctness that a GMAC more had to buy.")
    forced: bool = Field(description="The exit was forced by a limit or by load: outside every certificate.")
    certificate: str | None = Field(description="Id of the certificate that the target was taken from.")


class Timing(_Shape):
    """Milliseconds. `total` runs from the request's last byte to the answer."""

    decode: float
    queue: float
    compute: float
    total: float


class WalkStep(_Shape):
    """One stage of the walk, with `explain=true`."""

    stage: str
    exit: str | None
    score: float | None = Field(description="Calibrated score of the answer standing after this stage.")
    price: PriceShown
    batch_rows: int
    queue_ms: float
    stage_ms: float
    verdict: str = Field(description="`go on`, or the reason for which the walk ended here.")
    next: str | None = Field(description="The stage that follows.")
    rows: int = Field(description="Rows of this input that ran: more than 1 where a stage runs over tiles or frames.")
    signals: dict[str, float | list[float]] = Field(description="What the router went by, in its family's words.")
    seen: list[dict[str, Any]] = Field(description="What it looked at: boxes or points in pixels, moments, characters.")


class AnswerShape(_Shape):
    """An answer with its receipt."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "model": "cifar10-early-exit",
                    "version": "1.0.0",
                    "output": {
                        "label": "cat",
                        "probability": 0.981,
                        "top": [{"label": "cat", "probability": 0.981}, {"label": "dog", "probability": 0.015}],
                    },
                    "exit": "exit1",
                    "reason": "confident",
                    "compute": {"mmacs": 17.6, "fraction_of_full": 0.13, "device_ms": 0.4, "stages": ["block1"]},
                    "budget": {
                        "asked": {"latency_ms": 20},
                        "met": True,
                        "price": 0.0,
                        "forced": False,
                        "certificate": None,
                    },
                    "timing_ms": {"decode": 0.3, "queue": 0.05, "compute": 0.4, "total": 0.9},
                }
            ]
        },
    )

    model: str
    version: str
    output: Classification | Segmentation | Detection
    exit: str
    reason: Literal["confident", "last", "deadline", "compute", "overload"]
    compute: Compute
    budget: BudgetReceipt
    timing_ms: Timing
    walk: list[WalkStep] | None = None
    picture: str | None = Field(default=None, description="With `explain`: what was looked at, a PNG as data URL.")


class Answers(_Shape):
    """Answers of a request with several inputs, in their order."""

    answers: list[AnswerShape]


class Problem(BaseModel):
    """`application/problem+json` (RFC 9457); some errors add members, like `best` for an impossible budget."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str


class ModelLine(_Shape):
    """A model as the list shows it."""

    name: str
    version: str | None
    modality: str | None
    task: str | None
    family: str | None
    state: Literal["ready", "degraded", "loading", "failed", "unloaded"]
    reason: str | None = Field(None, description="Why it failed to load, or which certificates are suspended.")


class ModelList(_Shape):
    """All packages found, those that failed to load too."""

    models: list[ModelLine]


class StageLine(_Shape):
    """A stage: its cost in MACs and its measured time for one row."""

    name: str
    mmacs: float
    ms: float
    exit: str | None
    next: list[str]


class CurveLine(_Shape):
    """One price on the calibration split; `certified` holds at 95 % confidence for exits that nothing forced."""

    price: PriceShown
    mean_mmacs: float
    fraction_of_full: float
    accuracy: float
    agreement: float
    certified: dict[str, float]


class CertificateShape(_Shape):
    """A promise on the average over requests like the calibration data."""

    id: str
    kind: Literal["accuracy", "agreement", "max_drop"]
    target: float
    confidence: float
    n: int = Field(description="Calibration samples.")
    k: int | float = Field(description="Losses among them at this price; of dense answers the sum of shares.")
    price: PriceShown
    mean_mmacs: float
    package: str = Field(description="SHA-256 of the package's manifest.")
    provider: str
    precision: str


class WatchedShape(CertificateShape):
    """A certificate, and what audited walks say of it."""

    monitored: bool = Field(description="Whether audited walks can contradict it: they say nothing of accuracy.")
    status: Literal["valid", "suspended"]
    in_force: CertificateShape = Field(description="Itself, or the safer one that stands in while it is suspended.")


class Refused(_Shape):
    """A target that can't be certified, and the best that can."""

    budget: str
    asked: float
    best: float


class CertificateList(_Shape):
    """Certificates; with `joint` all of them hold together at `confidence`."""

    confidence: float
    joint: bool
    certificates: list[WatchedShape]
    refused: list[Refused]


class ModelShape(ModelLine):
    """A model in full."""

    description: str
    labels: list[str]
    full_mmacs: float
    exits: list[str]
    stages: list[StageLine]
    default: WatchedShape = Field(description="The certificate that requests without a budget are served under.")
    curve: list[CurveLine]
    package: str
