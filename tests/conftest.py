"""What tests share: where data and packages are, free ports, and servers that are real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

from tests import packages

ROOT = Path(__file__).resolve().parent.parent
READY_S = 120.0
DRAIN_S = 30.0

Command = Sequence[str | Path]
StartServer = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def zoo(root: Path) -> Path:
    """The shipped packages."""
    return root / "models" / "zoo"


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of three real stages, calibrated by running them (tests/packages.py). Shared: don't change it."""
    return packages.write_colours(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The data sets; tests that ask for it are skipped on machines without them."""
    named = os.environ.get("OFFRAMP_DATA")
    if not named:
        pytest.skip("OFFRAMP_DATA is not set: the data sets are not part of the repository")
    path = Path(named)
    assert path.is_dir(), f"OFFRAMP_DATA names {path}, which is no folder"
    return path


def find_free_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago."""
    return find_free_port()


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once /readyz says 200; fail, with the log's end, if the process ends or takes too long."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"server not ready (exit code {process.poll()}):\n{log.read_text()[-4000:]}")


def stop(process: subprocess.Popen[bytes], ending: signal.Signals, log: Path) -> None:
    """End by that signal; a server that doesn't drain and leave with 0 fails the test."""
    if process.poll() is None:
        process.send_signal(ending)
    try:
        code = process.wait(DRAIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        pytest.fail(f"server still there {DRAIN_S} s after {ending.name}:\n{log.read_text()[-4000:]}")
    assert code == 0, f"server ended with {code}:\n{log.read_text()[-4000:]}"


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> StartServer:
    """Start an offramp command as a process of its own, as a context that gives its base URL and ends it.

    `command` is what comes before `serve`, `options` come after it, `env` is added to the environment, `ending` is the
    signal that ends it, `log` is the file that its output goes to.
    """

    @contextmanager
    def start(
        *options: str,
        command: Command = (sys.executable, "-m", "service"),
        cwd: Path = ROOT,
        ending: signal.Signals = signal.SIGTERM,
        log: Path | None = None,
        **env: str,
    ) -> Iterator[str]:
        port, log = find_free_port(), log or tmp_path_factory.mktemp("server") / "log.txt"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [*command, "serve", "--host", "127.0.0.1", "--port", str(port), *options],
                cwd=cwd,
                env={**os.environ, "OFFRAMP_GRPC_PORT": "0", **env},
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until_ready(url := f"http://127.0.0.1:{port}", process, log)
            yield url
        except BaseException:
            process.kill()
            process.wait()
            raise
        stop(process, ending, log)

    return start


@pytest.fixture(scope="session")
def server(start_server: StartServer) -> Iterator[str]:
    """The base URL of one server with the shipped zoo, shared by all tests that don't mind company."""
    with start_server() as url:
        yield url


@pytest.fixture(scope="session")
def colours_server(start_server: StartServer, colours: Path) -> Iterator[str]:
    """The base URL of one server with the package `colours` only: ready in a second, whatever the zoo holds."""
    with start_server("--models", str(colours)) as url:
        yield url
