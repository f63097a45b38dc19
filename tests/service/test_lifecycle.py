"""A server's life: not ready, ready, draining, gone."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tests.conftest import StartServer


def test_it_is_alive_and_ready(colours_server: str) -> None:
    assert httpx.get(f"{colours_server}/healthz").status_code == 200
    assert httpx.get(f"{colours_server}/readyz").status_code == 200


def test_one_broken_package_does_not_stop_the_others(start_server: StartServer, colours: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "package.yaml").write_text("format: 1\nname: broken\n")
    with start_server("--models", str(tmp_path), "--models", str(colours)) as url:
        states = {model["name"]: model["state"] for model in httpx.get(f"{url}/v1/models").json()["models"]}
    assert states == {"broken": "failed", "colours": "ready"}


def test_a_bad_setting_stops_the_start_and_is_named(tmp_path: Path, free_port: int) -> None:
    command = [sys.executable, "-m", "service", "serve", "--port", str(free_port)]
    done = subprocess.run(
        command, env={"OFFRAMP_LANE_THREAD": "2"}, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "OFFRAMP_LANE_THREAD" in done.stderr


def test_an_interrupt_ends_it_as_cleanly_as_sigterm(start_server: StartServer, colours: Path) -> None:
    with start_server("--models", str(colours), ending=signal.SIGINT) as url:  # wants exit code 0
        assert httpx.get(f"{url}/healthz").status_code == 200
