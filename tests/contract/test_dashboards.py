"""Every panel and every rule, asked of a real Prometheus that scrapes a live server under mixed load."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import runpy
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.conftest import StartServer, find_free_port
from tests.service.wire import CLIENT, PREDICT, Scrape, noisy, post

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
_LOAD_S, _WAIT_S = 6.0, 30.0
QUERIES = ("?latency_ms=2000", "", "?agreement=1")
VARIABLES = {"$__rate_interval": "1m", "$model": ".*", "$tenant": ".*", "$cost": "0.5"}
LOAD = runpy.run_path(str(ROOT / "deploy" / "load.py"))
FREE, QUOTA = (
    {"name": name, "keys": [f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"], **more}
    for name, more in (("free", {}), ("bounded", {"mmacs_per_s": 5}))
)
KEYS = ({"X-Api-Key": "free"}, {"X-Api-Key": "bounded"})
_METRIC = re.compile(r"\bofframp_[a-z_]+[a-z]\b")


def queries() -> list[tuple[str, str]]:
    """Panel and expression of every query of every dashboard, its variables filled in."""
    found = []
    for file in FILES:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                expr = target["expr"]
                for variable, value in VARIABLES.items():
                    expr = expr.replace(variable, value)
                found.append((f"{file.stem}: {panel['title']} {target['refId']}", expr))
    return found


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[str]:
    """A Prometheus with the shipped rules that scrapes `target` every second; its base URL."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed: apt-get install prometheus")
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(ROOT / "deploy" / "prometheus" / "rules.yml")]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target.removeprefix("http://")]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = find_free_port()
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
    ]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def others(zoo: Path) -> list[Path]:
    """The first shipped package of each modality beside images, as soon as there are such."""
    found: dict[str, Path] = {}
    for path in sorted(zoo.iterdir()):
        if (path / "package.yaml").is_file():
            found.setdefault(yaml.safe_load((path / "package.yaml").read_text())["modality"], path)
    return [path for modality, path in found.items() if modality != "image"]


def feed(url: str, name: str, modality: str, end: float) -> None:
    """Ask a model for what it reads, three made-up inputs at least: some take seconds."""
    media_type, make = LOAD["MAKERS"][modality]
    made = [make() for _ in QUERIES]
    for lap in itertools.count():
        given, query = made[lap % len(made)], QUERIES[lap % len(made)]
        headers = {"Content-Type": media_type, **KEYS[0]}
        asked = post(url, given, path=f"/v1/models/{name}/predict{query}", headers=headers)
        assert asked.status_code in (200, 503), asked.text
        if lap >= len(made) - 1 and time.monotonic() > end:
            return


def drive(url: str) -> None:
    """All kinds of requests for a few seconds, to all models: kept and missed budgets, forced exits, refusals."""
    images, _ = noisy(20, seed=4)
    end = time.monotonic() + _LOAD_S
    with ThreadPoolExecutor() as others:
        served = LOAD["models"](url)
        fed = [others.submit(feed, url, name, modality, end) for name, modality in served if name != "colours"]
        while time.monotonic() < end or not all(one.done() for one in fed):
            for place, image in enumerate(images):
                query = ("?latency_ms=500", "?latency_ms=0.01", "?compute_mmacs=1.5", "?agreement=1", "")[place % 5]
                post(url, image, path=f"{PREDICT}{query}", headers=KEYS[place % 2])
            post(url, b"no image", headers=KEYS[0])
            post(url, images[0], path=f"{PREDICT}?accuracy=0.99999", headers=KEYS[0])
            post(url, images[0])
    for one in fed:
        one.result()


def ask(prometheus_url: str, expr: str, at: float | None = None) -> list[float]:
    """The values that an expression has now, or had at a moment."""
    asked = {"query": expr} | ({} if at is None else {"time": str(at)})
    answered: dict[str, Any] = httpx.get(f"{prometheus_url}/api/v1/query", params=asked, timeout=10).json()
    assert answered["status"] == "success", f"{expr}: {answered}"
    return [float(one["value"][1]) for one in answered["data"]["result"]]


@dataclass(frozen=True)
class Watched:
    """A server that was under load, the Prometheus that saw it, and the moment at which the load ended."""

    url: str
    prometheus: str
    ended_at: float

    def ask(self, expr: str) -> list[float]:
        return ask(self.prometheus, expr, self.ended_at)


@pytest.fixture(scope="module")
def watched(
    start_server: StartServer, colours: Path, zoo: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    served = [option for path in (colours, *others(zoo)) for option in ("--models", str(path))]
    tenants = tmp_path_factory.mktemp("tenants") / "tenants.yaml"
    tenants.write_text(yaml.safe_dump({"tenants": [FREE, QUOTA]}))
    with (
        start_server(*served, OFFRAMP_SHADOW_SHARE="1", OFFRAMP_TENANTS=str(tenants)) as url,
        prometheus(url, tmp_path_factory.mktemp("prometheus")) as prometheus_url,
    ):
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            try:
                if ask(prometheus_url, "up == 1"):
                    break
            except (httpx.TransportError, ValueError):  # not listening yet, or not ready to answer in JSON
                pass
            time.sleep(0.2)
        drive(url)
        ended_at = time.time()
        # The last scrapes of the load, and what the audits of its last walks say, come a moment later.
        time.sleep(2.5)
        yield Watched(url, prometheus_url, ended_at + 1)


@pytest.mark.slow
@pytest.mark.parametrize(("panel", "expr"), queries(), ids=[panel for panel, _ in queries()])
def test_every_panel_shows_something(watched: Watched, panel: str, expr: str) -> None:
    values = watched.ask(expr)
    assert values, f"{panel}: no data for {expr}"
    assert all(math.isfinite(value) for value in values), f"{panel}: {values}"


@pytest.mark.slow
def test_every_modality_that_is_served_was_under_load(watched: Watched) -> None:
    for name, _ in LOAD["models"](watched.url):
        assert watched.ask(f'offramp_requests_total{{model="{name}",outcome="ok"}} > 0'), name


@pytest.mark.slow
def test_exemplars_lead_from_a_bucket_to_a_request(watched: Watched) -> None:
    asked = {"query": "offramp_request_duration_seconds_bucket", "start": str(watched.ended_at - 60)}
    url = f"{watched.prometheus}/api/v1/query_exemplars"
    found = CLIENT.get(url, params={**asked, "end": str(watched.ended_at + 1)}).json()["data"]
    assert any(one["labels"]["request_id"] for series in found for one in series["exemplars"])


@pytest.mark.slow
def test_every_rule_is_evaluated_without_error(watched: Watched) -> None:
    groups = CLIENT.get(f"{watched.prometheus}/api/v1/rules").json()["data"]["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    assert len(found) > 10
    assert {rule["health"] for rule in found} == {"ok"}
    for rule in found:
        if rule["type"] == "recording" and "5m" in rule["name"]:
            assert all(math.isfinite(value) for value in watched.ask(rule["name"]))


@pytest.mark.slow
def test_every_metric_that_is_named_exists(watched: Watched) -> None:
    known = {name for family in Scrape.of(watched.url).samples for name in (family,)}
    texts = [*(file.read_text() for file in FILES), (ROOT / "deploy" / "prometheus" / "rules.yml").read_text()]
    named = {name for text in texts for name in _METRIC.findall(text)}
    assert named
    assert not named - known


def test_the_files_are_what_the_code_makes() -> None:
    made = runpy.run_path(str(ROOT / "deploy" / "grafana" / "build.py"))
    assert {file.stem for file in FILES} == {page.uid for page in made["PAGES"]}
    for page in made["PAGES"]:
        assert (ROOT / "deploy" / "grafana" / "dashboards" / f"{page.uid}.json").read_text() == made["rendered"](
            page
        ), "run `make dashboards`"


def test_panels_do_not_overlap_and_say_what_they_show() -> None:
    for file in FILES:
        panels = json.loads(file.read_text())["panels"]
        boxes = [tuple(panel["gridPos"][key] for key in ("x", "y", "w", "h")) for panel in panels]
        cells = [(x + i, y + j) for x, y, w, h in boxes for i in range(w) for j in range(h)]
        assert len(set(cells)) == len(cells)
        assert all(panel["title"] and panel["description"] for panel in panels)
