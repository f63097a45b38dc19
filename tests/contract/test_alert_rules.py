"""The shipped alert rules: well-formed, and what promtool says where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

RULES = "deploy/prometheus/rules.yml"


def test_every_alert_says_how_bad_it_is_and_what_it_means(root: Path) -> None:
    groups = yaml.safe_load((root / RULES).read_text())["groups"]
    alerts = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in alerts}) == len(alerts) > 0
    for rule in alerts:
        assert rule["expr"].strip()
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert "$labels.model" in rule["annotations"]["summary"]


def test_promtool_accepts_them(root: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    checked = subprocess.run([promtool, "check", "rules", root / RULES], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
