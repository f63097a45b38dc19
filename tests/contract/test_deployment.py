"""Dockerfile, compose file and Grafana's provisioning: accepted by their own checkers, and true of this repository."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import yaml

from tests.service.wire import Scrape

BIN = Path(sys.executable).parent


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_is_clean(root: Path) -> None:
    run(BIN / "hadolint", root / "Dockerfile")


def test_the_dockerfile_copies_what_is_there_and_what_the_context_lets_in(root: Path) -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (root / "Dockerfile").read_text(), re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    let_in = {line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert names
    assert set(names) == let_in
    assert all((root / name).exists() for name in names)


def test_the_compose_file_keeps_to_the_specification(root: Path) -> None:
    run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", root / "docker-compose.yml")


def test_what_compose_mounts_is_there(root: Path) -> None:
    services = yaml.safe_load((root / "docker-compose.yml").read_text())["services"]
    mounts = [mount for service in services.values() for mount in service.get("volumes", ())]
    paths = [mount.partition(":")[0] for mount in mounts if mount.startswith("./")]
    assert paths
    assert all((root / path).exists() for path in paths)


def test_dashboards_ask_the_data_source_that_is_provisioned(root: Path) -> None:
    folder = root / "deploy" / "grafana"
    (source,) = yaml.safe_load((folder / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"]
    for file in (folder / "dashboards").glob("*.json"):
        assert set(re.findall(r'"type": "prometheus",\s+"uid": "([^"]+)"', file.read_text())) == {source["uid"]}


def test_the_load_client_is_answered(root: Path, colours_server: str) -> None:
    before = Scrape.of(colours_server).total("offramp_requests_total", outcome="ok")
    client = subprocess.Popen([sys.executable, root / "deploy" / "load.py", colours_server])
    try:
        deadline = time.monotonic() + 30
        while Scrape.of(colours_server).total("offramp_requests_total", outcome="ok") < before + 3:
            assert time.monotonic() < deadline
            assert client.poll() is None
            time.sleep(0.2)
    finally:
        client.kill()
        client.wait()
