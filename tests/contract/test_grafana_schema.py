"""The dashboards' JSON is of Grafana's own types: `@grafana/schema`, held against them by the TypeScript compiler."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PACKAGES = ("@grafana/schema@13.2.3", "typescript@5.9.3")
# JSON has words where the types have enums: `Plain` is a type with its enums replaced by the words of their members.
HEAD = """import type { Dashboard } from "@grafana/schema";
type Plain<T> = T extends string ? `${T}` : T extends number | boolean | null | undefined ? T
  : T extends (infer E)[] ? Plain<E>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
"""
OPTIONS = ("--noEmit", "--strict", "--skipLibCheck", "--moduleResolution", "bundler", "--module", "esnext")
FILES = sorted((Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "dashboards").glob("*.json"))


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the types and the compiler."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed: apt-get install npm")
    folder = tmp_path_factory.mktemp("schema")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"{PACKAGES} can't be installed: {(done.stdout + done.stderr)[-300:]}")
    return folder


def complaints(workshop: Path, *dashboards: dict[str, Any]) -> list[str]:
    """What the compiler says of dashboards, written as literals of Grafana's type."""
    lines = [f"export const d{n}: Plain<Dashboard> = {json.dumps(one)};" for n, one in enumerate(dashboards)]
    (workshop / "check.ts").write_text(HEAD + "\n".join(lines))
    compiler = workshop / "node_modules" / ".bin" / "tsc"
    done = subprocess.run(
        [compiler, *OPTIONS, "check.ts"], cwd=workshop, capture_output=True, text=True, timeout=300, check=False
    )
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_dashboards_are_of_grafana_s_types(workshop: Path) -> None:
    assert FILES
    assert complaints(workshop, *(json.loads(file.read_text()) for file in FILES)) == []


@pytest.mark.slow
def test_what_is_not_is_found(workshop: Path) -> None:
    page: dict[str, Any] = json.loads(FILES[0].read_text())
    panel = page["panels"][0]
    wrong = [
        {**page, "refresh": 10},
        {**page, "titel": "misspelt"},
        {**page, "panels": [{**panel, "gridPos": {**panel["gridPos"], "h": "8"}}]},
        {**page, "templating": {"list": [{"name": "model", "type": "quarry"}]}},
    ]
    found = complaints(workshop, *wrong)
    # A line for each literal: two for the imports and types would be another matter.
    assert {line.partition("(")[2].partition(",")[0] for line in found if line.startswith("check.ts")} == {
        str(HEAD.count("\n") + 1 + n) for n in range(len(wrong))
    }
