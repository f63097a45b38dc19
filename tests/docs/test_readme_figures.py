"""The README's tables of packages say what the packages' own cards say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ZOO = sorted(path.parent.name for path in (ROOT / "models" / "zoo").glob("*/package.yaml"))
ROW = re.compile(r"^\| `(?P<name>[a-z0-9-]+)` \|[^|]*\| (?P<full>[^|]*) \| (?P<way>[^|]*) \|$", re.MULTILINE)
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def rows() -> list[tuple[str, list[str], list[str]]]:
    """Name, and the figures (MMACs, quality) of the full walk and of one on the way, as they are written."""
    text = (ROOT / "README.md").read_text(encoding="utf8")
    found = ROW.finditer(text)
    return [(row["name"], NUMBER.findall(row["full"])[:2], NUMBER.findall(row["way"])[:2]) for row in found]


def says(line: str, figure: str) -> bool:
    """Whether a number of the line is the figure, or rounds to it."""
    decimals = len(figure.partition(".")[2])
    half = 0.5 * 10**-decimals + 1e-9
    return any(abs(float(number) - float(figure)) <= half for number in NUMBER.findall(line))


def test_every_package_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf8")
    assert [name for name in ZOO if f"`{name}`" not in text] == []


def test_the_tables_are_found() -> None:
    named = [name for name, _, _ in rows()]
    assert len(named) == len(set(named)) >= len(ZOO) - 1, "sentences' encoder alone is told of in words"


@pytest.mark.parametrize(("name", "full", "way"), rows(), ids=[name for name, _, _ in rows()])
def test_figures_are_those_of_the_card(name: str, full: list[str], way: list[str]) -> None:
    card = (ROOT / "models" / "zoo" / name / "README.md").read_text(encoding="utf8").splitlines()
    lines = [line for line in card if line.startswith("|")]
    for figures in (full, way):
        assert len(figures) == 2
        assert any(all(says(line, figure) for figure in figures) for line in lines), figures
