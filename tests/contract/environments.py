"""Python environments of their own, for what can't or needn't be installed beside what is served and tested here."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

import pytest

_NOT_THEIRS = {"PIP_CONSTRAINT", "PYTHONPATH"}


def own_environment() -> dict[str, str]:
    """The process's variables without what is meant for this project's environment."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_THEIRS}


def make(folder: Path, *requirements: str) -> Path:
    """An environment that has the requirements; its interpreter. The test is skipped where they can't be had."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    done = subprocess.run(
        [python, "-m", "pip", "install", "-qq", "--no-compile", *requirements],
        env=own_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"{', '.join(requirements)} can't be installed: {done.stderr[-300:]}")
    return python
