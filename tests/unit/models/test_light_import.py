"""The wheel ships models for its zoo: importing the package must not need torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_root_imports_no_torch(root: Path) -> None:
    code = "import sys, models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
