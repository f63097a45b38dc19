"""From the start of the process until it is ready: what it says meanwhile, what it loads, what stops it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import onnxruntime as ort
import pytest

from tests import packages
from tests.conftest import StartServer, find_free_port, stop, wait_until_ready
from tests.service.wire import CLIENT, RED, answer, post, problem


class Started:
    """A server that was started and is not waited for."""

    def __init__(self, log: Path, *options: str | Path, python: tuple[str, ...] = ()) -> None:
        port, self.log = find_free_port(), log
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, *python, "-m", "service", "serve", "--port", str(port), *map(str, options)]
        # The default port for gRPC may belong to a server that somebody runs beside the tests.
        env = {**os.environ, "OFFRAMP_GRPC_PORT": "0"}
        with log.open("wb") as sink:
            self.process = subprocess.Popen(command, env=env, stdout=sink, stderr=subprocess.STDOUT)

    def until_ready(self) -> None:
        wait_until_ready(self.url, self.process, self.log)

    def until_alive(self) -> None:
        while self.process.poll() is None:
            try:
                CLIENT.get(f"{self.url}/healthz")
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return
        pytest.fail(self.log.read_text())


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Start a server; whatever a test leaves running is ended, and has to end with 0."""
    started: list[Started] = []

    def begin(*options: str | Path, **more: Any) -> Started:
        started.append(Started(tmp_path / f"log{len(started)}.txt", *options, **more))
        return started[-1]

    try:
        yield begin
        for one in started:
            stop(one.process, signal.SIGTERM, one.log)
    finally:
        for one in started:
            if one.process.poll() is None:
                one.process.kill()
                one.process.wait()


def test_until_the_models_are_warm_it_is_alive_and_not_ready(start: Callable[..., Started], tmp_path: Path) -> None:
    labels = packages.write_colours(tmp_path / "packages") / "labels.txt"
    labels.unlink()
    os.mkfifo(labels)  # whoever reads it waits for the writer: loading ends when this test wants it to
    server = start("--models", tmp_path / "packages")
    server.until_alive()
    not_ready = CLIENT.get(f"{server.url}/readyz")
    assert (not_ready.status_code, not_ready.headers["retry-after"]) == (503, "1")
    assert CLIENT.get(f"{server.url}/v1/models").json() == {"models": []}
    assert CLIENT.get(f"{server.url}/metrics").status_code == 200
    for path in ("/v1/models/colours/predict", "/v1/predict"):
        assert problem(post(server.url, RED, path=path), 503)["type"] == "urn:offramp:error:not-ready"
    problem(CLIENT.get(f"{server.url}/v1/models/colours"), 503)

    labels.write_text("\n".join(packages.LABELS))
    server.until_ready()
    assert answer(post(server.url, RED))["output"]["label"] == "red"


def test_a_stop_while_loading_is_clean(start: Callable[..., Started], tmp_path: Path) -> None:
    labels = packages.write_colours(tmp_path / "packages") / "labels.txt"
    labels.unlink()
    os.mkfifo(labels)
    server = start("--models", tmp_path / "packages")
    server.until_alive()
    server.process.send_signal(signal.SIGTERM)
    labels.write_text("\n".join(packages.LABELS))
    assert server.process.wait(60) == 0


def test_serving_imports_no_torch_no_onnx_and_nothing_that_makes_models(
    start: Callable[..., Started], colours: Path
) -> None:
    server = start("--models", colours, python=("-X", "importtime"))
    server.until_ready()
    answer(post(server.url, RED, params={"explain": True}))
    mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
    stop(server.process, signal.SIGTERM, server.log)
    imported = set(re.findall(r"^import time:.*\| +([\w.]+)$", server.log.read_text(), re.MULTILINE))
    assert {"service.engine", "onnxruntime"} <= imported, "the log is what this test takes it for"
    assert not {name for name in imported if name.split(".")[0] in {"torch", "models", "onnx", "matplotlib"}}
    assert "onnxruntime" in mapped
    assert "torch" not in mapped


def broken_packages(folder: Path) -> dict[str, str]:
    """Packages that are wrong in every way, with a word that their reason has to hold."""
    made = {
        "altered": packages.write_colours(folder, name="altered", altered="look.onnx"),
        "missing": packages.write_colours(folder, name="missing", missing="stare.onnx"),
        "no-graph": packages.write_colours(folder, name="no-graph", graphs={"look": b"no graph at all"}),
        "one-label": packages.write_colours(folder, name="one-label", labels=["red"]),
        "no-record": packages.write_colours(folder, name="no-record", arrays={"labels": None}),
        "no-npz": packages.write_colours(folder, name="no-npz", manifest=no_npz(folder / "no-npz")),
        "no-family": packages.write_colours(folder, name="no-family", manifest=no_router),
    }
    words = ("look.onnx", "stare.onnx", "look", "labels.txt", "labels", "calibration.npz", "router")
    empty = folder / "empty"
    empty.mkdir()
    (empty / "package.yaml").write_text("")
    return dict(zip(made, words, strict=True)) | {"empty": "package.yaml"}


def no_npz(path: Path) -> Callable[[dict[str, Any]], None]:
    """Puts a broken archive in the place of the calibration file, with the right hash."""
    broken = b"PK\x03\x04 and nothing else"

    def change(content: dict[str, Any]) -> None:
        (path / packages.CALIBRATION).write_bytes(broken)
        content["calibration"]["sha256"] = packages._digest(broken)

    return change


def no_router(content: dict[str, Any]) -> None:
    content["router"]["name"] = "nobody-knows"


def test_broken_packages_are_listed_with_their_reasons_and_the_good_one_serves(
    start_server: StartServer, tmp_path: Path
) -> None:
    expected = broken_packages(tmp_path)
    packages.write_colours(tmp_path)
    with start_server("--models", str(tmp_path)) as url:
        listed = {one["name"]: one for one in CLIENT.get(f"{url}/v1/models").json()["models"]}
        assert {name for name, one in listed.items() if one["state"] == "failed"} == set(expected)
        for name, word in expected.items():
            assert word in listed[name]["reason"]
            refused = problem(post(url, RED, path=f"/v1/models/{name}/predict"), 503)
            assert listed[name]["reason"] in refused["detail"]
        assert (listed["colours"]["state"], listed["colours"]["reason"]) == ("ready", None)
        assert answer(post(url, RED, path="/v1/predict"))["model"] == "colours"


def test_a_broken_namesake_does_not_hide_a_good_package(start_server: StartServer, tmp_path: Path) -> None:
    broken, good = tmp_path / "broken", tmp_path / "good"
    packages.write_colours(broken, altered="look.onnx")
    packages.write_colours(good)
    with start_server("--models", str(broken), "--models", str(good)) as url:
        assert answer(post(url, RED))["output"]["label"] == "red"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"OFFRAMP_LANES": "0"}, "OFFRAMP_LANES='0'"),
        ({"OFFRAMP_DEVICE": "tpu"}, "OFFRAMP_DEVICE"),
        ({"OFFRAMP_MAX_PIXEL": "9"}, "OFFRAMP_MAX_PIXEL is no setting"),
        ({"OFFRAMP_MODELS": "/nowhere/at/all"}, "/nowhere/at/all"),
    ],
)
def test_a_bad_setting_is_exit_code_2_and_a_sentence(environment: dict[str, str], said: str) -> None:
    command = [sys.executable, "-m", "service", "serve", "--port", "0"]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def refused(tmp_path: Path, *options: str, **env: str) -> str:
    """What a server says that ends before it listens."""
    (tmp_path / "empty").mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--models", str(tmp_path / "empty"), *options],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    return done.stderr


def test_cuda_without_cuda_stops_the_start_even_without_models(tmp_path: Path) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    told = refused(tmp_path, "--device", "cuda")
    assert "device cuda was asked for" in told
    assert "pip install 'offramp[gpu]'" in told


def test_both_wheels_of_onnx_runtime_stop_the_start(tmp_path: Path) -> None:
    fake = tmp_path / "site" / "onnxruntime_gpu-1.20.0.dist-info"
    fake.mkdir(parents=True)
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.20.0\n")
    paths = [str(fake.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    told = refused(tmp_path, PYTHONPATH=os.pathsep.join(paths))
    assert "onnxruntime and onnxruntime-gpu are both installed; uninstall both" in told
