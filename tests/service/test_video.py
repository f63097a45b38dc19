"""Videos over HTTP: uploads of every form, limits, and what is refused; against a real server."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from tests import clips, packages
from tests.conftest import StartServer
from tests.service.wire import CLIENT, RED, Scrape, answer, problem

PREDICT = "/v1/models/colours/predict"
MIDDLE = 0.5
MAX_BYTES = 300_000
SPOOL_AFTER = 20_000
VIDEO = {"Content-Type": "video/mp4"}


def turning(middle: str, *, frames: int = 50, side: int = 64, noise: int = 0) -> bytes:
    """A clip that is of one colour but for the frames about its middle."""
    rng = np.random.default_rng(0)
    other = "green" if middle != "green" else "blue"

    def picture(number: int) -> NDArray[np.uint8]:
        plain = packages.plain(middle if abs(number / frames - MIDDLE) < 0.1 else other)
        large = plain.repeat(side // 8, axis=0).repeat(side // 8, axis=1).astype(int)
        return (large + rng.integers(0, noise + 1, large.shape)).clip(0, 255).astype(np.uint8)

    options = {"g": "25", "crf": "18", "preset": "veryfast"}
    return clips.clip([picture(number) for number in range(frames)], options=options)


@pytest.fixture(scope="module")
def small() -> bytes:
    return turning("red")


@pytest.fixture(scope="module")
def large() -> bytes:
    data = turning("red", frames=30, side=128, noise=60)
    assert SPOOL_AFTER < len(data) < MAX_BYTES
    return data


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`colours` as a model that looks at the middle of a video."""

    def manifest(content: dict[str, Any]) -> None:
        content["modality"] = "video"
        glimpse = content["stages"][0]["inputs"]["image"]
        glimpse |= {"glimpse": "frame", "at": [MIDDLE]}

    return packages.write_colours(tmp_path_factory.mktemp("watching"), manifest=manifest)


@pytest.fixture(scope="module")
def server(start_server: StartServer, watching: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = {
        "OFFRAMP_MAX_VIDEO_BYTES": str(MAX_BYTES),
        "OFFRAMP_SPOOL_AFTER_BYTES": str(SPOOL_AFTER),
        "OFFRAMP_MAX_VIDEO_SECONDS": "3",
        "OFFRAMP_MAX_BODY_BYTES": "100000",
        "TMPDIR": str(tmp_path_factory.mktemp("uploads")),
    }
    with start_server("--models", str(watching), **settings) as url:
        yield url


def label(response: httpx.Response) -> str:
    return str(answer(response)["output"]["label"])


@pytest.mark.parametrize("path", [PREDICT, "/v1/predict"])
@pytest.mark.parametrize("kind", ["video/mp4", "application/octet-stream", None])
def test_raw_bytes_of_any_size(server: str, small: bytes, large: bytes, path: str, kind: str | None) -> None:
    for data in (small, large):
        headers = {"Content-Type": kind} if kind else {}
        assert label(CLIENT.post(f"{server}{path}", content=data, headers=headers)) == "red"


def test_a_body_may_come_in_chunks_without_a_length(server: str, large: bytes) -> None:
    chunks = (large[at : at + 3_000] for at in range(0, len(large), 3_000))
    assert label(CLIENT.post(f"{server}{PREDICT}", content=chunks, headers=VIDEO)) == "red"


def test_many_files_of_a_form_are_answered_in_order(server: str, small: bytes, large: bytes) -> None:
    data = [small, turning("blue"), large, turning("green")]
    shown = answer(CLIENT.post(f"{server}{PREDICT}", files=[("file", ("a.mp4", one, "video/mp4")) for one in data]))
    assert [one["output"]["label"] for one in shown["answers"]] == ["red", "blue", "red", "green"]


def test_json_brings_small_ones(server: str, small: bytes) -> None:
    document = {"inputs": [{"video_base64": base64.b64encode(small).decode()}]}
    for path in (PREDICT, "/v1/predict"):
        assert label(CLIENT.post(f"{server}{path}", json=document)) == "red"
    document = {"inputs": [{"video_base64": "A" * 120_000}]}
    assert problem(CLIENT.post(f"{server}{PREDICT}", json=document), 413)["limit"] == 100_000


def test_v2_brings_them_as_bytes(server: str, small: bytes) -> None:
    triton = pytest.importorskip("tritonclient.http")
    tensor = triton.InferInput("video", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([small], dtype=np.object_))
    with triton.InferenceServerClient(server.removeprefix("http://")) as client:
        assert client.infer("colours", [tensor]).as_numpy("label").tolist() == [b"red"]


@pytest.mark.parametrize("headers", [VIDEO, {}])
def test_more_than_a_video_may_have_is_refused(server: str, headers: dict[str, str]) -> None:
    too_large = CLIENT.post(f"{server}{PREDICT}", content=b"x" * (MAX_BYTES + 1), headers=headers)
    assert problem(too_large, 413)["limit"] == MAX_BYTES


def test_an_image_model_s_limit_is_not_stretched(colours_server: str) -> None:
    too_large = CLIENT.post(f"{colours_server}{PREDICT}", content=b"x" * (20 * 2**20 + 1))
    assert problem(too_large, 413)["limit"] == 20 * 2**20


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        (clips.sound(), VIDEO, 415),
        (RED, {}, 415),
        (RED, VIDEO, 415),
        (b"hello", VIDEO, 400),
        (b"", VIDEO, 400),
        (clips.clip()[:-100], VIDEO, 400),
        (clips.clip(80), VIDEO, 413),
        (clips.clip(2), {"Content-Type": "video/webm"}, 415),
        (clips.clip(2, codec="ffv1", container="matroska", options={}), {}, 415),
    ],
)
def test_what_is_no_video_for_us_is_refused(server: str, data: bytes, headers: dict[str, str], status: int) -> None:
    before = Scrape.of(server).total("offramp_refused_total")
    problem(CLIENT.post(f"{server}{PREDICT}", content=data, headers=headers), status)
    assert Scrape.of(server).total("offramp_refused_total") == before + 1


def test_decoding_is_on_the_receipt_and_in_the_metrics(server: str, small: bytes) -> None:
    before = Scrape.of(server)
    shown = answer(CLIENT.post(f"{server}{PREDICT}?explain=true", content=small, headers=VIDEO))
    after = Scrape.of(server)
    spent = after.total("offramp_decode_seconds_sum") - before.total("offramp_decode_seconds_sum")
    assert shown["timing_ms"]["decode"] == pytest.approx(spent * 1e3, abs=0.01)
    assert after.total("offramp_decode_seconds_count") - before.total("offramp_decode_seconds_count") == 1


def test_uploads_leave_no_file_behind(server: str, large: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    for _ in range(3):
        CLIENT.post(f"{server}{PREDICT}", content=large, headers=VIDEO)
        CLIENT.post(f"{server}{PREDICT}", files={"file": large})
    process = _server_process(server)
    deadline = time.monotonic() + 30  # audits read on once the answers are out
    while held := [link for link in process.glob("fd/*") if "uploads" in _target(link)]:
        assert time.monotonic() < deadline, held
        time.sleep(0.1)
    assert [path for path in folder.glob("uploads*/*") if not path.name.startswith(".")] == []


def _server_process(url: str) -> Path:
    """The server's folder in /proc, by its port."""
    port = int(url.rpartition(":")[2])
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(port).encode() in words and b"service" in b" ".join(words):
            return process
    pytest.skip("the server's process can't be seen here")


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
