"""Requests made up from the OpenAPI document: none breaks the server, every answer is of a documented shape."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_answers_keep_to_the_openapi_document(colours_server: str, tmp_path: Path) -> None:
    config = Path(__file__).with_name("schemathesis.toml")
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config), "run", "--no-color"]
    done = subprocess.run(
        [*command, f"{colours_server}/openapi.json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
