"""What the command says in environments that can't serve."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT_ONNX_RUNTIME = """
import sys
sys.modules["onnxruntime"] = None  # as if it were not installed
from service.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["explain", "a-model", __file__]])
def test_without_onnx_runtime_it_names_the_extras(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ONNX_RUNTIME, *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "offramp[cpu]" in done.stderr
    assert "Traceback" not in done.stderr
