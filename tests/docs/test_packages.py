"""docs/packages.md has a row for every field of the manifest and every array of the record, and for no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from service.package.manifest import ImageGlimpse, Manifest, Stage
from service.package.record import Record


def rows(root: Path, heading: str) -> set[str]:
    """The first cells of the first table under a heading."""
    _, _, below = (root / "docs" / "packages.md").read_text().partition(f"\n## {heading}\n")
    [table, *_] = re.findall(r"(?:^\|.*\n)+", below, re.MULTILINE)
    return set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


@pytest.mark.parametrize(
    ("heading", "model"), [("The manifest", Manifest), ("A stage", Stage), ("A glimpse", ImageGlimpse)]
)
def test_every_field_has_its_row(root: Path, heading: str, model: type[BaseModel]) -> None:
    assert rows(root, heading) == set(model.model_fields)


def test_every_array_of_the_record_has_its_row(root: Path) -> None:
    assert rows(root, "The calibration file") == set(Record.__slots__)
