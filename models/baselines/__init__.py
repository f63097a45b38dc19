"""Static nets that packages are held against: what was measured once, on the same test split."""

import json
from pathlib import Path

from models.findings import Share, StaticNet

CIFAR10 = Path(__file__).parent / "cifar10_static.json"
"""Nets of the make of cifar10-early-exit with one exit, on devtest; from phase `static` of its recipe."""
IMAGENETTE = Path(__file__).parent / "imagenette_static.json"
"""The backbone of imagenette-resolution at one resolution for every photo, on devtest; its recipe writes it."""


def read(file: Path) -> list[StaticNet]:
    """The nets listed in a JSON file: `name`, `macs` for every image, `right` answers `of` so many."""
    rows = json.loads(file.read_text())["nets"]
    return [StaticNet(row["name"], row["macs"], Share(row["right"], row["of"])) for row in rows]


def cifar10() -> list[StaticNet]:
    """Static nets for CIFAR-10, smallest first."""
    return read(CIFAR10)


def imagenette() -> list[StaticNet]:
    """One resolution for every photo of Imagenette, smallest first."""
    return read(IMAGENETTE)
