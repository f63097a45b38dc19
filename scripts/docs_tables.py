"""Write the tables of docs/ that the code already knows: settings, metrics, errors.

python scripts/docs_tables.py          write them between their markers
python scripts/docs_tables.py --check  change nothing; say which pages differ, and end with 1 if any does
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from annotated_types import Ge, Gt, Le, MinLen
from prometheus_client import Counter, Gauge, Histogram
from pydantic.fields import FieldInfo

from service import errors, settings, telemetry

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- begin: scripts/docs_tables.py -->\n", "<!-- end -->\n"


def table(*rows: tuple[str, ...]) -> str:
    """Markdown; the first row is the heading."""
    head, *body = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    return "\n".join((head, "| " + " | ".join("---" for _ in rows[0]) + " |", *body)) + "\n"


def settings_table() -> str:
    """Each setting with its variable, default and range."""
    fields = settings.Settings.model_fields
    rows = [
        (f"`{settings.PREFIX}{name.upper()}`", default(field), accepts(field), field.description or "")
        for name, field in fields.items()
    ]
    return table(("variable", "default", "accepts", "meaning"), *rows)


def default(field: FieldInfo) -> str:
    """A setting's default; one that depends on the machine or on where offramp is installed is told in words."""
    if field.default_factory is not None:
        return "by machine"
    if field.default == (settings.ZOO,):
        return "the shipped packages"
    return f"`{field.default}`"


def accepts(field: FieldInfo) -> str:
    """The values of a setting: the choices of a literal, or its type with its bounds."""
    kind: Any = field.annotation
    if choices := getattr(kind, "__args__", None) if getattr(kind, "__origin__", None) is not tuple else None:
        return ", ".join(f"`{choice}`" for choice in choices)
    words = {int: "whole number", float: "number", str: "text"}
    return " ".join((words.get(kind, "paths"), *bounds(field))).strip()


def bounds(field: FieldInfo) -> Iterator[str]:
    """The limits of a setting, in words."""
    for limit in field.metadata:
        if isinstance(limit, Ge):
            yield f"from {limit.ge}"
        elif isinstance(limit, Gt):
            yield f"above {limit.gt}"
        elif isinstance(limit, Le):
            yield f"to {limit.le}"
        elif isinstance(limit, MinLen):
            yield f"(at least {limit.min_length})"


def metrics_table() -> str:
    """Each metric family with its type and labels."""
    metrics = telemetry.Metrics.new()
    families = (getattr(metrics, name) for name in metrics.__slots__)
    rows = [metric_row(family) for family in families if isinstance(family, Counter | Gauge | Histogram)]
    return table(("metric", "type", "labels", "meaning"), *rows)


def metric_row(family: Counter | Gauge | Histogram) -> tuple[str, ...]:
    """One row; prometheus_client keeps a counter's name without the `_total` that it is scraped with."""
    [described] = family.describe()
    name = described.name + ("_total" if described.type == "counter" else "")
    labels = ", ".join(f"`{label}`" for label in family._labelnames) or "none"
    return f"`{name}`", described.type, labels, described.documentation


def errors_table() -> str:
    """Each error type with what a client sees of it."""
    rows = [
        (
            f"`{e.__name__}`",
            f"`{e.slug}`",
            str(e.status),
            "yes" if e.retryable else "no",
            (e.__doc__ or "").split("\n")[0],
        )
        for e in descendants(errors.OfframpError)
        if e.__module__ == errors.__name__
    ]
    return table(("type", "slug", "status", "retry", "when"), *rows)


def descendants(error: type[errors.OfframpError]) -> Iterator[type[errors.OfframpError]]:
    """Everything below a type, parents first."""
    for child in error.__subclasses__():
        yield child
        yield from descendants(child)


TABLES: dict[str, Callable[[], str]] = {
    "settings.md": settings_table,
    "metrics.md": metrics_table,
    "errors.md": errors_table,
}


def renewed(page: Path) -> str:
    """The page with its table as the code has it now."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + TABLES[page.name]() + END + after


def main(arguments: list[str]) -> int:
    """Write or check all pages; returns the exit status."""
    pages = [ROOT / "docs" / name for name in TABLES]
    stale = [page for page in pages if page.read_text() != renewed(page)]
    for page in stale:
        print(f"docs/{page.name} differs from the code")
        if "--check" not in arguments:
            page.write_text(renewed(page))
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
