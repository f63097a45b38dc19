"""`package.yaml`: the part of a package that a person reads, validated before anything is loaded.

Every error is a `PackageError` that names the file, the field and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator

from service.errors import PackageError
from service.package.glimpses import Modality, TokensGlimpse
from service.package.laps import MOST_EXITS, Place, body, unrolled
from service.package.stage import Stage
from service.package.strict import Digest, FileName, Slug, Strict, Tensor
from service.task.base import TaskName

DEFAULT_AGREEMENT = 0.99
FILE = "package.yaml"
FORMAT = 1


class RouterSpec(Strict):
    """The rule after each stage: a registered router and its parameters; its tables are in the calibration file."""

    name: Slug
    parameters: dict[str, Any] = Field(default_factory=dict)


class CalibrationFile(Strict):
    """Where the router's tables and the calibration record are."""

    file: FileName
    sha256: Digest


class Manifest(Strict):
    """A package's manifest. The first stage is where every walk begins.

    A stage's `next` may lead back: the stages between are then walked up to `laps` times. `zeros` are states that are 0
    when a walk begins; `files` are what else the package needs (a tokenizer), by name with their hashes.
    """

    format: Literal[1]
    name: Slug
    version: Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+){0,2}$")]
    modality: Modality
    task: TaskName
    family: Slug
    description: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    labels: FileName
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, strict=False)]
    laps: Annotated[int, Field(ge=1, le=MOST_EXITS)] = 1
    zeros: tuple[Tensor, ...] = Field(default=(), strict=False)
    files: dict[FileName, Digest] = Field(default_factory=dict)
    router: RouterSpec
    calibration: CalibrationFile
    precision: Literal["float32", "int8"] = "float32"
    default_agreement: Annotated[float, Field(gt=0, le=1, strict=False)] = DEFAULT_AGREEMENT
    provenance: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _walkable(self) -> Manifest:
        for problem in _problems(self):
            raise ValueError(problem)
        return self

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """The stages where a walk may stand, loops unrolled, in walking order."""
        return tuple(unrolled(self.stages, self.laps))


def _problems(manifest: Manifest) -> Iterator[str]:
    """What keeps these stages from being walked, one sentence a problem."""
    stages = manifest.stages
    yield from _twice("stage", [stage.name for stage in stages])
    if manifest.laps > 1 and not body(stages):
        yield "laps says that there is a loop, but no next leads back; name the stage to go on from, or leave laps out"
    if manifest.laps == 1 and body(stages):
        yield "a next leads back to an earlier stage; list stages in walking order, or say in laps how often it may"
    places = manifest.places
    yield from _twice("stage", [place.name for place in places])
    exits = [place.exit for place in places if place.exit]
    yield from _twice("exit", exits)
    if len(exits) > MOST_EXITS:
        yield f"{len(exits)} exits; there may be {MOST_EXITS}: lower laps"
    for number, place in enumerate(places):
        yield from _misplaced(number, place, places)
    for stage in stages:
        yield from _mismatched(manifest, stage)
    yield from _lost_states(manifest)


def _twice(kind: str, names: Sequence[str]) -> Iterator[str]:
    return (f"{kind} name {name!r} is used twice; rename one" for name in names if names.count(name) > 1)


def _misplaced(number: int, place: Place, places: Sequence[Place]) -> Iterator[str]:
    """What is wrong with a place's ways."""
    later = {each.name: each.stage for each in places[number + 1 :]}
    for after in place.next:
        if after not in later:
            yield f"stage {place.name!r}: next names {after!r}, which is no later stage; list stages in walking order"
        elif place.stage.ragged and later[after].choosy:
            yield f"stage {place.name!r} is ragged: {after!r} can't follow it, since no router is asked there"
    if not place.next and place.exit is None:
        yield f"stage {place.name!r} has neither next nor exit: a walk would end there without an answer"
    if number == 0 and (place.stage.ragged or not all(spec.ready for spec in place.stage.glimpses.values())):
        yield f"stage {place.name!r} is the first: no router can have said where it shall look; give its glimpses an at"


def _mismatched(manifest: Manifest, stage: Stage) -> Iterator[str]:
    """What is wrong with a stage's inputs and outputs."""
    if list(stage.outputs.values()).count("answer") != (0 if stage.exit is None else 1):
        yield f"stage {stage.name!r}: an exit needs exactly one output marked 'answer', and the reverse"
    if stage.ragged and (stage.exit or len(stage.next) != 1):
        yield f"stage {stage.name!r} is ragged: it needs exactly one next and no exit, since its rows are no answer yet"
    if stage.ragged and stage.writes:
        yield f"stage {stage.name!r} is ragged: mark its outputs 'rows', since its rows would overwrite one state"
    if not stage.ragged and (stage.reads_rows or stage.writes_rows):
        yield f"stage {stage.name!r} reads or writes rows, but isn't ragged"
    for name, spec in stage.glimpses.items():
        if spec.modality != manifest.modality:
            yield f"stage {stage.name!r}: {name!r} is a glimpse of {spec.modality}, but {manifest.modality} is read"
        if isinstance(spec, TokensGlimpse) and spec.file not in manifest.files:
            yield f"stage {stage.name!r}: {name!r} needs {spec.file!r}, which isn't in files"


def _lost_states(manifest: Manifest) -> Iterator[str]:
    """Stages that no walk reaches, and states that some walk would ask for without having made them.

    Such a walk would read what another walker left in its slot.
    """
    places = manifest.places
    index = {place.name: number for number, place in enumerate(places)}
    made: dict[int, frozenset[str]] = {0: frozenset(manifest.zeros)}
    for number, place in enumerate(places):
        if number not in made:
            yield f"stage {place.name!r} comes after no other; name it in a stage's next"
            continue
        stage = place.stage
        for name in (*stage.reads.values(), *stage.reads_rows.values()):
            if name not in made[number]:
                yield f"stage {place.name!r}: state {name!r} is made by no earlier stage of some walk"
        known = made[number].union(stage.writes.values(), stage.writes_rows.values())
        for after in place.next:
            made[index[after]] = made.get(index[after], known) & known


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
