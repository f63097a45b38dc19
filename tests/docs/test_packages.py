"""docs/packages.md has a row for every field of the manifest and every array of the record, and for no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from service.package.glimpses import Glimpse
from service.package.manifest import Manifest
from service.package.record import Record
from service.package.stage import Stage


def rows(root: Path, heading: str) -> set[str]:
    """The first cells of the first table under a heading."""
    _, _, below = (root / "docs" / "packages.md").read_text().partition(f"\n## {heading}\n")
    [table, *_] = re.findall(r"(?:^\|.*\n)+", below, re.MULTILINE)
    cells = re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize(("heading", "model"), [("The manifest", Manifest), ("A stage", Stage)])
def test_every_field_has_its_row(root: Path, heading: str, model: type[BaseModel]) -> None:
    assert rows(root, heading) == set(model.model_fields)


def test_every_field_of_a_glimpse_has_its_row(root: Path) -> None:
    assert rows(root, "A glimpse") == {name for kind in get_args(Glimpse) for name in kind.model_fields}


def test_every_kind_of_glimpse_has_its_row(root: Path) -> None:
    kinds = {get_args(kind.model_fields["glimpse"].annotation)[0] for kind in get_args(Glimpse)}
    page = (root / "docs" / "packages.md").read_text()
    assert kinds == set(re.findall(r"^\| `(\w+)` \| (?:image|text|video) \|", page, re.MULTILINE))


def test_every_array_of_the_record_has_its_row(root: Path) -> None:
    assert rows(root, "The calibration file") == set(Record.__slots__)
