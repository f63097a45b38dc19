"""A stage as the manifest describes it: one ONNX graph, what goes in and out of it, and what may follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from service.package.glimpses import Glimpse
from service.package.strict import Digest, FileName, Slug, Strict, Tensor


class StateOf(Strict):
    """A state under a name of its own: a graph can't write a tensor that it reads."""

    state: Tensor


class RowsOf(Strict):
    """The picked rows of a state that has many rows a sample, under a name of its own."""

    rows: Tensor


Input = Literal["state", "rows"] | StateOf | RowsOf | Glimpse
Output = Literal["state", "rows", "answer"] | StateOf | RowsOf
Roles = Mapping[str, Input] | Mapping[str, Output]


class Stage(Strict):
    """One ONNX graph with a dynamic first axis, and the stages that may follow it.

    A ragged stage has up to `ragged` rows a sample (tiles, frames, pixels): the router picks which of them run.
    """

    name: Slug
    graph: FileName
    sha256: Digest
    macs_per_row: Annotated[int, Field(ge=0)]
    inputs: Annotated[dict[str, Input], Field(min_length=1)]
    outputs: Annotated[dict[str, Output], Field(min_length=1)]
    exit: Slug | None = None
    next: tuple[Slug, ...] = Field(default=(), strict=False)
    ragged: Annotated[int, Field(ge=2, le=65536)] | None = None

    @property
    def answer(self) -> str | None:
        """Name of the answer tensor, if the stage has one."""
        return next((name for name, kind in self.outputs.items() if kind == "answer"), None)

    @property
    def glimpses(self) -> dict[str, Glimpse]:
        """The views of the raw input that this stage asks for, by graph input."""
        return {name: spec for name, spec in self.inputs.items() if isinstance(spec, Glimpse)}

    @property
    def choosy(self) -> bool:
        """Whether only a router's own choice can lead here, because it alone says where to look or which rows run."""
        return self.ragged is not None or not all(spec.ready for spec in self.glimpses.values())

    @property
    def reads(self) -> dict[str, str]:
        """Whole states that go in: names of states by graph input."""
        return _states(self.inputs)

    @property
    def writes(self) -> dict[str, str]:
        """Whole states that come out: names of states by graph output."""
        return _states(self.outputs)

    @property
    def reads_rows(self) -> dict[str, str]:
        """States of which the picked rows go in: names of states by graph input."""
        return _rows(self.inputs)

    @property
    def writes_rows(self) -> dict[str, str]:
        """States of which the picked rows come out: names of states by graph output."""
        return _rows(self.outputs)


def _states(roles: Roles) -> dict[str, str]:
    whole = {port: port for port, role in roles.items() if role == "state"}
    return whole | {port: role.state for port, role in roles.items() if isinstance(role, StateOf)}


def _rows(roles: Roles) -> dict[str, str]:
    rows = {port: port for port, role in roles.items() if role == "rows"}
    return rows | {port: role.rows for port, role in roles.items() if isinstance(role, RowsOf)}
