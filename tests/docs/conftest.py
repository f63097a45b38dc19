"""Reading the docs: tables by their heading row, and the prose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Row = dict[str, str]
ReadTable = Callable[[str], list[Row]]


def cells(line: str) -> list[str]:
    """The cells of one table line, without the marks of code."""
    return [cell.strip().strip("`") for cell in line.strip().strip("|").replace("\\|", "¦").split("|")]


@pytest.fixture(scope="session")
def read_table(root: Path) -> ReadTable:
    """The rows of every table in a file of docs/, each as a dictionary from column heading to cell."""

    def read(name: str) -> list[Row]:
        rows: list[Row] = []
        heads: list[str] = []
        for line in (root / "docs" / name).read_text().splitlines():
            if not line.startswith("|"):
                heads = []
            elif not heads:
                heads = cells(line)
            elif not set(line) <= set("|-: "):
                rows.append(dict(zip(heads, cells(line), strict=True)))
        return rows

    return read
