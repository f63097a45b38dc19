"""Write the tables of docs/ that the code already knows: routes, budget keys, settings, metrics, errors.

python scripts/docs_tables.py          write them between their markers
python scripts/docs_tables.py --check  change nothing; say which pages differ, and end with 1 if any does
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from service import errors, settings, telemetry
from service.api.budgets import BudgetFields
from service.app import build_app

ROOT = Path(__file__).resolve().parent.parent
Schema = dict[str, Any]
WORDS = {"boolean": "`true`, `false`", "integer": "whole number", "number": "number", "string": "text", "array": "list"}
BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
BEGIN, END = "<!-- begin: scripts/docs_tables.py -->\n", "<!-- end -->\n"


def table(*rows: tuple[str, ...]) -> str:
    """Markdown; the first row is the heading."""
    head, *body = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    return "\n".join((head, "| " + " | ".join("---" for _ in rows[0]) + " |", *body)) + "\n"


def routes_table() -> str:
    """Each route of the OpenAPI document with the statuses that it may answer."""
    paths: dict[str, dict[str, Any]] = build_app(settings.Settings()).openapi()["paths"]
    rows = [
        (
            f"`{method.upper()} {path}`",
            operation["description"].split("\n")[0],
            ", ".join(sorted(operation["responses"])),
        )
        for path, operations in paths.items()
        for method, operation in operations.items()
    ]
    return table(("route", "what it does", "statuses"), *rows)


def budgets_table() -> str:
    """Each budget key with its range."""
    document = BudgetFields.model_json_schema()
    rows = [
        (f"`{name}`", accepts(schema, document), schema["description"])
        for name, schema in document["properties"].items()
    ]
    return table(("key", "accepts", "meaning"), *rows)


def settings_table() -> str:
    """Each setting with its variable, default and range."""
    document = settings.Settings.model_json_schema()
    rows = [
        (f"`{settings.PREFIX}{name.upper()}`", default(name), accepts(schema, document), schema["description"])
        for name, schema in document["properties"].items()
    ]
    return table(("variable", "default", "accepts", "meaning"), *rows)


def default(name: str) -> str:
    """A setting's default; one that depends on the machine or on where offramp is installed is told in words."""
    field = settings.Settings.model_fields[name]
    if field.default_factory is not None:
        return "by machine"
    return "the shipped packages" if field.default == (settings.ZOO,) else f"`{field.default}`"


def accepts(schema: Schema, document: Schema) -> str:
    """The values that a JSON schema lets through, in words: choices, or a type with its bounds."""
    if "anyOf" in schema:  # a key that may be left out: null or ..
        return accepts(next(option for option in schema["anyOf"] if option.get("type") != "null"), document)
    if "$ref" in schema:
        return accepts(document["$defs"][schema["$ref"].rsplit("/", 1)[-1]], document)
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    bounds = [f"{word} {schema[key]}" for key, word in BOUNDS.items() if key in schema]
    return f"{WORDS[schema['type']]} {', '.join(bounds)}".strip()


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
    "http.md": routes_table,
    "budgets.md": budgets_table,
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
