"""The shipped rules: well-formed, accepted by promtool, and firing when and only when they should."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

RULES, RULES_TEST = "deploy/prometheus/rules.yml", "deploy/prometheus/rules_test.yml"


def rules(root: Path) -> list[dict[str, object]]:
    groups = yaml.safe_load((root / RULES).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def promtool(*arguments: str | Path) -> None:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_says_how_bad_it_is_and_what_it_means(root: Path) -> None:
    alerts = [rule for rule in rules(root) if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts) > 0
    for rule in alerts:
        labels, annotations = rule["labels"], rule["annotations"]
        assert isinstance(labels, dict)
        assert isinstance(annotations, dict)
        assert labels["severity"] in {"info", "warning", "critical"}
        assert re.search(r"\$labels\.(model|tenant|instance)", annotations["summary"])


def test_promtool_accepts_them(root: Path) -> None:
    promtool("check", "rules", root / RULES)


def test_they_fire_when_they_should_and_not_else(root: Path) -> None:
    promtool("test", "rules", root / RULES_TEST)


def test_the_loudest_alerts_have_a_test(root: Path) -> None:
    told = (root / RULES_TEST).read_text()
    critical = [rule["alert"] for rule in rules(root) if rule.get("labels") == {"severity": "critical"}]
    assert not [name for name in critical if f"alertname: {name}" not in told]
