"""KServe's own clients, REST and gRPC, against a live server.

They can't be installed beside what is served and tested here (old psutil, a Kubernetes client, pandas: 450 MB), so they
get an environment of their own, made by this test. KSERVE_PYTHON names the interpreter of one that is there already.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer, find_free_port
from tests.contract import environments
from tests.service.wire import FULL_MACS, RED

VERSION = "0.21.0"
CLIENT = Path(__file__).with_name("kserve_client.py")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has KServe."""
    if named := os.environ.get("KSERVE_PYTHON"):
        return Path(named)
    return environments.make(tmp_path_factory.mktemp("kserve"), f"kserve=={VERSION}")


@pytest.fixture(scope="module")
def told(
    python: Path, start_server: StartServer, colours: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the clients said of a server."""
    (file := tmp_path_factory.mktemp("picture") / "red.png").write_bytes(RED)
    port = find_free_port()
    with start_server("--models", str(colours), OFFRAMP_GRPC_PORT=str(port)) as url:
        done = subprocess.run(
            [python, CLIENT, url, f"127.0.0.1:{port}", "colours", file],
            env=environments.own_environment(),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_health(told: dict[str, Any], protocol: str) -> None:
    assert [told[protocol][name] for name in ("live", "ready", "model_ready")] == [True] * 3


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_an_answer_with_its_receipt(told: dict[str, Any], protocol: str) -> None:
    quick, full = told[protocol]["binary"], told[protocol]["json"]
    assert (quick["model"], quick["id"], quick["label"]) == ("colours", "mine", "red")
    assert sum(quick["probability"][0]) == pytest.approx(1, abs=1e-5)
    assert full["label"] == "red"
    assert full["parameters"]["macs"] == FULL_MACS > quick["parameters"]["macs"]
    assert full["parameters"]["met"] is True


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_an_error_is_told_with_its_reason(told: dict[str, Any], protocol: str) -> None:
    assert "the bytes are text/plain" in told[protocol]["error"]
