"""`package.yaml`: the part of a package that a person reads, validated before anything is loaded.

Every error is a `PackageError` that names the file, the field and the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from service.errors import PackageError
from service.task.base import TaskName

FILE = "package.yaml"
FORMAT = 1

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=64)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=128)]
"""A plain file name: no separators, so nothing outside the package folder can be named."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ImageGlimpse(_Strict):
    """The whole image at one size: uint8 [rows, height, width, 3], RGB."""

    glimpse: Literal["image"]
    height: Annotated[int, Field(ge=1, le=4096)]
    width: Annotated[int, Field(ge=1, le=4096)]


Input = Literal["state"] | ImageGlimpse
Output = Literal["state", "answer"]


class Stage(_Strict):
    """One ONNX graph with a dynamic first axis, and the stages that may follow it."""

    name: Slug
    graph: FileName
    sha256: Digest
    macs_per_row: Annotated[int, Field(ge=0)]
    inputs: Annotated[dict[str, Input], Field(min_length=1)]
    outputs: Annotated[dict[str, Output], Field(min_length=1)]
    exit: Slug | None = None
    next: tuple[Slug, ...] = Field(default=(), strict=False)

    @property
    def answer(self) -> str | None:
        """Name of the answer tensor, if the stage has one."""
        return next((name for name, kind in self.outputs.items() if kind == "answer"), None)

    @property
    def glimpses(self) -> dict[str, ImageGlimpse]:
        """The views of the raw input that this stage asks for, by graph input."""
        return {name: spec for name, spec in self.inputs.items() if isinstance(spec, ImageGlimpse)}


class RouterSpec(_Strict):
    """The rule after each stage: a registered router and its parameters; its tables are in the calibration file."""

    name: Slug
    parameters: dict[str, Any] = Field(default_factory=dict)


class CalibrationFile(_Strict):
    """Where the router's tables and the calibration record are."""

    file: FileName
    sha256: Digest


class Manifest(_Strict):
    """A package's manifest. The first stage is where every walk begins."""

    format: Literal[1]
    name: Slug
    version: Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+){0,2}$")]
    modality: Literal["image", "text", "video"]
    task: TaskName
    family: Slug
    description: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    labels: FileName
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, strict=False)]
    router: RouterSpec
    calibration: CalibrationFile
    precision: Literal["float32", "int8"] = "float32"
    provenance: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _walkable(self) -> Manifest:
        for problem in _problems(self.stages):
            raise ValueError(problem)
        return self


def _problems(stages: tuple[Stage, ...]) -> list[str]:
    """What keeps these stages from being walked, one sentence a problem."""
    names = [stage.name for stage in stages]
    exits = [stage.exit for stage in stages if stage.exit]
    places = {name: place for place, name in enumerate(names)}
    found = [f"stage name {name!r} is used twice; rename one" for name in names if names.count(name) > 1]
    found += [f"exit name {name!r} is used twice; rename one" for name in exits if exits.count(name) > 1]
    for place, stage in enumerate(stages):
        found += [
            f"stage {stage.name!r}: next names {after!r}, which is no later stage; list stages in walking order"
            for after in stage.next
            if places.get(after, -1) <= place
        ]
        if not stage.next and stage.exit is None:
            found.append(f"stage {stage.name!r} has neither next nor exit: a walk would end there without an answer")
        if list(stage.outputs.values()).count("answer") != (0 if stage.exit is None else 1):
            found.append(f"stage {stage.name!r}: an exit needs exactly one output marked 'answer', and the reverse")
        if place and stage.glimpses:
            found.append(f"stage {stage.name!r} asks for a glimpse; only the first stage can")
    return found or _lost_states(stages, places)


def _lost_states(stages: tuple[Stage, ...], places: Mapping[str, int]) -> list[str]:
    """Stages that no walk reaches, and states that some walk would ask for without having made them.

    Such a walk would read what another walker left in its slot.
    """
    made: dict[int, frozenset[str]] = {0: frozenset()}
    found = []
    for place, stage in enumerate(stages):
        if place not in made:
            found.append(f"stage {stage.name!r} comes after no other; name it in a stage's next")
            continue
        lost = [name for name, kind in stage.inputs.items() if kind == "state" and name not in made[place]]
        found += [f"stage {stage.name!r}: state {name!r} is made by no earlier stage of some walk" for name in lost]
        known = made[place].union(name for name, kind in stage.outputs.items() if kind == "state")
        for after in stage.next:
            made[places[after]] = made.get(places[after], known) & known
    return found


def parse(text: str, file: Path) -> Manifest:
    """Manifest from YAML text; `file` is only named in errors.

    Raises:
        PackageError: not YAML, not a mapping, a field that is missing, unknown or ill-typed, stages that can't be
            walked.
    """
    try:
        data = yaml.safe_load(text)
    except Exception as error:  # PyYAML lets KeyError, ValueError and more of its constructors through
        raise PackageError(file, "(whole file)", f"not YAML: {error}", "write it again with models.export") from error
    if not isinstance(data, dict):
        raise PackageError(file, "(whole file)", "not a mapping", "start it with 'format: 1'")
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "stages"
        raise PackageError(file, field, first["msg"], _remedy(first["type"])) from error


def _remedy(kind: str) -> str:
    remedies = {
        "missing": "add it; docs/packages.md lists every field",
        "extra_forbidden": "remove it or correct its spelling; docs/packages.md lists every field",
    }
    return remedies.get(kind, "correct the value; docs/packages.md says what it accepts")
