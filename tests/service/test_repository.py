"""Packages that appear, change, break and go while the server serves."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import packages
from tests.conftest import StartServer
from tests.service.wire import CLIENT, RED, TIMEOUT_S, Scrape, answer, macs, noisy, post, problem


def change(url: str, model: str, what: str, **body: Any) -> httpx.Response:
    return CLIENT.post(f"{url}/v2/repository/models/{model}/{what}", json=body)


def predict(url: str, model: str, **options: Any) -> httpx.Response:
    return post(url, RED, path=f"/v1/models/{model}/predict", **options)


def listed(url: str) -> dict[str, str]:
    """State of each package by name."""
    return {one["name"]: one["state"] for one in CLIENT.get(f"{url}/v1/models").json()["models"]}


def renew(path: Path, version: str, labels: tuple[str, ...] = packages.LABELS) -> None:
    """Another version of a package in its folder, with other names for its classes."""
    text = (path / "package.yaml").read_text()
    (path / "package.yaml").write_text(text.replace("version: 1.0.0", f"version: {version}"))
    (path / "labels.txt").write_text("\n".join(labels) + "\n")


@pytest.fixture
def folder(colours: Path, tmp_path: Path) -> Path:
    """A models folder of the test's own with one package."""
    shutil.copytree(colours, tmp_path / "models" / "colours")
    return tmp_path / "models"


@pytest.fixture
def live(start_server: StartServer, folder: Path) -> Iterator[str]:
    with start_server("--models", str(folder), OFFRAMP_SHADOW_SHARE="1") as url:
        yield url


@contextmanager
def traffic(url: str) -> Iterator[list[httpx.Response]]:
    """Four clients that ask without end; what they were answered."""
    images, _ = noisy(20, seed=2)
    done, answers = threading.Event(), list[httpx.Response]()

    def ask() -> None:
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
            while not done.is_set():
                for image in images:
                    answers.append(client.post(f"{url}/v1/models/colours/predict", content=image))

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for one in clients:
        one.start()
    try:
        yield answers
    finally:
        done.set()
        for one in clients:
            one.join()


def test_a_package_that_appeared_is_served(live: str, folder: Path) -> None:
    assert problem(predict(live, "shades"), 404)
    assert change(live, "shades", "load").status_code == 404
    packages.write_colours(folder, name="shades").rename(folder / "any-folder")
    assert change(live, "shades", "load").status_code == 200
    assert answer(predict(live, "shades"))["model"] == "shades"
    assert answer(predict(live, "colours"))["model"] == "colours"
    assert listed(live) == {"colours": "ready", "shades": "ready"}


def test_a_package_that_changed_takes_over_under_load(live: str, folder: Path) -> None:
    with traffic(live) as answers:
        while len(answers) < 40:
            pass
        renew(folder / "colours", "2.0.0", ("rouge", "vert", "bleu"))
        assert change(live, "colours", "load").status_code == 200
        seen = len(answers)
        while len(answers) < seen + 40:
            pass
    # In the moment of the change who comes is told to come again; nobody gets a mixture, an error, or no answer.
    assert {one.status_code for one in answers} <= {200, 503}
    good = [one.json() for one in answers if one.status_code == 200]
    assert all(("retry-after" in one.headers) for one in answers if one.status_code == 503)
    by_version = {
        version: {one["output"]["label"] for one in good if one["version"] == version} for version in ("1.0.0", "2.0.0")
    }
    assert by_version["1.0.0"] <= set(packages.LABELS)
    assert by_version["2.0.0"] <= {"rouge", "vert", "bleu"}
    assert all(by_version.values())
    spent = sum(macs(one) for one in good)
    assert Scrape.of(live).total("offramp_compute_macs_total", model="colours") == spent


def test_loading_what_is_served_as_it_is_changes_nothing(live: str) -> None:
    before = answer(predict(live, "colours"))
    assert change(live, "colours", "load").status_code == 200
    assert answer(predict(live, "colours"))["output"] == before["output"]


def test_a_package_that_broke_leaves_the_old_one_in_service(live: str, folder: Path) -> None:
    renew(folder / "colours", "2.0.0", ("only one",))
    refused = change(live, "colours", "load")
    assert refused.status_code == 500
    assert "labels" in refused.json()["error"]
    assert answer(predict(live, "colours"))["version"] == "1.0.0"
    assert Scrape.of(live).total("offramp_model_state", model="colours", state="ready") == 1
    assert CLIENT.get(f"{live}/v1/models").json()["models"][0]["state"] == "ready"
    assert len(CLIENT.get(f"{live}/v1/models").json()["models"]) == 1
    renew(folder / "colours", "2.0.0")
    assert change(live, "colours", "load").status_code == 200
    assert listed(live) == {"colours": "ready"}


def test_what_is_unloaded_is_gone_and_can_come_back(live: str) -> None:
    assert change(live, "colours", "unload").status_code == 200
    assert "unloaded" in problem(predict(live, "colours"), 503)["detail"]
    assert listed(live) == {"colours": "unloaded"}
    assert Scrape.of(live).total("offramp_model_state", model="colours", state="unloaded") == 1
    index = CLIENT.post(f"{live}/v2/repository/index").json()
    assert [(one["name"], one["state"], one["reason"]) for one in index] == [("colours", "UNAVAILABLE", "unloaded")]
    assert change(live, "colours", "unload").status_code == 503
    assert change(live, "colours", "load").status_code == 200
    assert answer(predict(live, "colours"))
    assert listed(live) == {"colours": "ready"}


def test_a_package_that_failed_at_the_start_can_be_mended(start_server: StartServer, folder: Path) -> None:
    labels = (folder / "colours" / "labels.txt").read_text()
    (folder / "colours" / "labels.txt").write_text("")
    with start_server("--models", str(folder)) as url:
        assert listed(url) == {"colours": "failed"}
        assert Scrape.of(url).total("offramp_model_state", model="colours", state="failed") == 1
        (folder / "colours" / "labels.txt").write_text(labels)
        assert change(url, "colours", "load").status_code == 200
        assert answer(predict(url, "colours"))
        assert listed(url) == {"colours": "ready"}
        assert Scrape.of(url).total("offramp_model_state", model="colours", state="failed") == 0


def test_nothing_that_a_client_sends_along_is_loaded(live: str) -> None:
    refused = change(live, "colours", "load", parameters={"config": "{}"})
    assert refused.status_code == 501
    assert "config" in refused.json()["error"]
