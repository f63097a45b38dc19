"""What a user gets from `pip install offramp-*.whl[cpu]`: a server with the zoo, in an empty environment, anywhere."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import httpx
import pytest
from PIL import Image

pytestmark = pytest.mark.slow


class StartServer(Protocol):
    """The fixture of tests/conftest.py."""

    def __call__(self, *options: str, command: list[Path], cwd: Path) -> AbstractContextManager[str]: ...


def run(*command: str | Path, cwd: Path) -> str:
    """Run to the end; a failure shows what the command said."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, cwd=root)
    [built] = folder.glob("offramp-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(root: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment that has the wheel with its extra `cpu`, and nothing of this tree."""
    venv = tmp_path_factory.mktemp("empty") / "venv"
    run(sys.executable, "-m", "venv", venv, cwd=venv.parent)
    install = (venv / "bin" / "python", "-m", "pip", "install", "-qq", "--constraint", root / "constraints.txt")
    run(*install, f"{wheel}[cpu]", cwd=venv.parent)
    return venv / "bin"


def png() -> bytes:
    """A small picture."""
    image = Image.linear_gradient("L").resize((48, 32)).convert("RGB")
    image.save(sink := io.BytesIO(), "PNG")
    return sink.getvalue()


def test_the_wheel_carries_both_packages_and_the_zoo(root: Path, wheel: Path, zoo: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    listed = run("git", "ls-files", "-z", "service", "models", cwd=root) if (root / ".git").exists() else ""
    assert {name for name in listed.split("\0") if name} <= names
    assert {"service/py.typed", "models/py.typed"} <= names
    assert [name for name in names if name.startswith("models/zoo/") and name.endswith(".onnx")]


def test_serving_needs_no_torch(installed: Path, tmp_path: Path) -> None:
    names = {line.split("==")[0].lower() for line in run(installed / "pip", "freeze", cwd=tmp_path).splitlines()}
    assert "onnxruntime" in names
    assert not names & {"torch", "onnx", "matplotlib", "onnxruntime-gpu"}


def test_it_serves_the_zoo_and_leaves_on_sigterm(
    installed: Path, start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with start_server(command=[installed / "offramp"], cwd=tmp_path) as url:  # ends it, and wants exit code 0
        listed = httpx.get(f"{url}/v1/models").raise_for_status().json()["models"]
        names = [model["name"] for model in listed if model["modality"] == "image"]
        assert names
        for name in names:
            answer = httpx.post(f"{url}/v1/models/{name}/predict", content=png(), headers={"Content-Type": "image/png"})
            receipt = answer.raise_for_status().json()
            assert receipt["output"]
            assert receipt["compute"]["mmacs"] > 0
