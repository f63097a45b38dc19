"""What a server writes to its log: JSON lines, and on demand one for each input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import StartServer
from tests.service.wire import CLIENT, PREDICT, RED, Scrape, answer, macs, post


def lines(file: Path) -> list[dict[str, Any]]:
    """Every line of a log; each has to be JSON."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_each_input_has_a_line_when_asked_for(start_server: StartServer, colours: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with start_server("--models", str(colours), log=log, OFFRAMP_ACCESS_LOG="true") as url:
        answered = post(url, RED, headers={"X-Request-Id": "mine-1"})
        assert answered.headers["x-request-id"] == "mine-1"
        refused = post(url, b"no picture", headers={"Content-Type": "image/png"})
        impossible = post(url, RED, path=f"{PREDICT}?accuracy=0.99999")
    told = {line["request_id"]: line for line in lines(log) if line["logger"] == "offramp.access"}
    assert set(told) == {"mine-1", refused.headers["x-request-id"], impossible.headers["x-request-id"]}
    line, shown = told["mine-1"], answer(answered)
    assert (line["model"], line["outcome"], line["exit"], line["macs"]) == ("colours", "ok", shown["exit"], macs(shown))
    assert told[refused.headers["x-request-id"]]["outcome"] == "rejected"
    assert told[impossible.headers["x-request-id"]]["error"] == "impossible-budget"


def test_unless_asked_for_inputs_leave_no_line(start_server: StartServer, colours: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with start_server("--models", str(colours), log=log) as url:
        answer(post(url, RED))
        CLIENT.get(f"{url}/metrics")
    told = lines(log)
    assert any("ready: colours" in line["message"] for line in told)
    assert not [line for line in told if "access" in line["logger"]]


def test_a_bucket_names_a_request_that_fell_into_it(colours_server: str) -> None:
    answer(post(colours_server, RED, headers={"X-Request-Id": "exemplary"}))
    accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
    page = httpx.get(f"{colours_server}/metrics", headers=accept, trust_env=False)
    assert page.headers["content-type"].startswith("application/openmetrics-text")
    assert page.text.endswith("# EOF\n")
    assert '# {request_id="exemplary"}' in page.text
    assert "request_id" not in CLIENT.get(f"{colours_server}/metrics").text
    assert Scrape.of(colours_server).total("offramp_model_state", model="colours", state="ready") == 1
