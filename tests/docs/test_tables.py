"""The tables of docs/ are what the code says, and no page names a metric or a setting that isn't there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

import service.errors
from service.api.v2 import routes as v2
from service.settings import _NOT_OURS, PREFIX, Settings
from service.telemetry import Metrics

ROOT = Path(__file__).resolve().parents[2]
RENDERER: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "docs_tables.py"))
PROSE = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.y*ml"), *ROOT.glob("deploy/**/*.json")]
METRIC = re.compile(r"\bofframp_[a-z_]+[a-z]\b")
VARIABLE = re.compile(rf"\b{PREFIX}[A-Z_]+[A-Z]\b")


@pytest.mark.parametrize("name", sorted(RENDERER["TABLES"]))
def test_the_table_is_what_the_code_says(name: str) -> None:
    page = ROOT / "docs" / name
    assert page.read_text() == RENDERER["renewed"](page), "run `make docs`"


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_metrics_exist(page: Path) -> None:
    known = {sample for family in Metrics.new().registry.collect() for sample in scraped(family.name, family.type)}
    assert not set(METRIC.findall(page.read_text())) - known


def scraped(name: str, kind: str) -> set[str]:
    """The names under which a family can be queried."""
    suffixes = {"counter": ("_total",), "histogram": ("", "_bucket", "_sum", "_count")}.get(kind, ("",))
    return {name + suffix for suffix in suffixes}


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_settings_exist(page: Path) -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields} | _NOT_OURS
    assert not set(VARIABLE.findall(page.read_text())) - known


def test_every_setting_says_what_it_is_for() -> None:
    assert not [name for name, field in Settings.model_fields.items() if not field.description]


def test_every_metric_is_made_in_telemetry() -> None:
    makers = re.compile(r"\b(Counter|Gauge|Histogram|Summary)\(\s*\"")
    found = {file.name for file in (ROOT / "service").rglob("*.py") if makers.search(file.read_text())}
    assert found == {"telemetry.py"}


@pytest.mark.parametrize("name", [error.__name__ for error in RENDERER["descendants"](service.errors.OfframpError)])
def test_the_tree_of_errors_names_the_type(name: str) -> None:
    assert re.search(rf"\b{name}\b", service.errors.__doc__ or "")


def test_the_page_of_the_protocol_names_all_of_its_routes() -> None:
    page = (ROOT / "docs" / "v2.md").read_text()
    plain = [route for route in v2.router.routes if isinstance(route, APIRoute) and "{version}" not in route.path]
    assert plain
    assert not [route.path for route in plain if f"`{next(iter(route.methods))} {route.path}`" not in page]
