"""The rules of CONTRIBUTING.md that a machine can check."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

PACKAGES = ("service", "models", "loadtest")
MAX_LINES = 400
BINARY = {".binpb", ".onnx", ".npz", ".npy", ".png", ".jpg", ".webp", ".mp4"}
# Written so that neither pattern matches its own spelling here.
MACHINE_PATH = re.compile(r"(^|[^A-Za-z0-9_.])/(work|farm|root)/")
REGISTRY_ADDRESS = re.compile(r"--(extra-)?index-url\b|--find-(links)\b|https?://[^\s)]*/simple\b|file:/{3}")


@pytest.fixture(scope="module")
def tracked(root: Path) -> list[Path]:
    """Every text file that git keeps."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=False, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = (root / name for name in listed.stdout.split("\0") if name)
    return [file for file in files if file.is_file() and file.suffix not in BINARY]


def modules(root: Path) -> list[Path]:
    """The Python files of the packages that are code, not tests."""
    return [file for package in PACKAGES for file in (root / package).rglob("*.py")]


def test_no_module_is_too_long(root: Path) -> None:
    lines = {file.relative_to(root): len(file.read_text().splitlines()) for file in modules(root)}
    assert not {file: n for file, n in lines.items() if n > MAX_LINES}, "split by noun"


def test_modules_are_named_by_nouns(root: Path) -> None:
    vague = {"utils", "util", "helpers", "helper", "misc", "common"}
    assert not [file.relative_to(root) for file in modules(root) if file.stem in vague]


def test_no_path_of_one_machine_is_tracked(tracked: list[Path], root: Path) -> None:
    assert not [file.relative_to(root) for file in tracked if MACHINE_PATH.search(file.read_text())]


def test_no_registry_address_is_tracked(tracked: list[Path], root: Path) -> None:
    assert not [file.relative_to(root) for file in tracked if REGISTRY_ADDRESS.search(file.read_text())]


def test_constraints_are_versions_and_nothing_else(root: Path) -> None:
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert not [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.!]*", line)]


def test_constraints_pin_what_pyproject_asks_for(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["cpu"], *extras["models"], *extras["dev"]]
    names = {canonical(re.split(r"[\[<>=!~ ]", requirement)[0]) for requirement in asked}
    pinned = {canonical(line.split("==")[0]) for line in (root / "constraints.txt").read_text().splitlines()}
    assert not names - pinned, "run scripts/make-constraints constraints.txt"


def test_onnx_runtime_is_never_a_base_dependency(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert not [name for name in project["dependencies"] if "onnx" in name or "torch" in name]


def canonical(name: str) -> str:
    """A distribution's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
