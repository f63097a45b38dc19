"""A server whose traffic shifts: every walk is audited, the alarm goes off, a safer price serves and says so."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tests import packages
from tests.conftest import StartServer
from tests.service.wire import CLIENT, Scrape, answer, encode, noisy

SHIPPED = "cifar10-early-exit"
EVERY_WALK = {"OFFRAMP_SHADOW_SHARE": "1", "OFFRAMP_MAX_SHADOWS": "512", "OFFRAMP_LANES": "1"}
CALM, MOST_SHIFTED = 150, 1_000


@pytest.fixture(scope="module")
def audited(start_server: StartServer, colours: Path) -> Iterator[str]:
    """A server of `colours` that audits every walk."""
    with start_server("--models", str(colours), **EVERY_WALK) as url:
        yield url


@pytest.fixture(scope="module")
def audited_shipped(start_server: StartServer, zoo: Path, data_dir: Path) -> Iterator[str]:
    """A server of the shipped image package that audits every walk."""
    with start_server("--models", str(zoo / SHIPPED), **EVERY_WALK) as url:
        yield url


def misleading(count: int, seed: int) -> list[bytes]:
    """Pictures whose first pixel row shows one colour clearly and whose other rows show another."""
    rng = np.random.default_rng(seed)
    files = []
    for _ in range(count):
        seen, true = rng.permutation(packages.LABELS)[:2]
        picture = packages.plain(str(true))
        picture[0] = packages.plain(str(seen))[0]
        files.append(encode(picture))
    return files


def photos(data: Path, count: int) -> list[bytes]:
    """Photos of the kind that the package was calibrated on, as JPEG files."""
    with np.load(data / "cifar10" / "devtest.npz", allow_pickle=False) as archive:
        joined, cuts = archive["jpeg"], archive["offsets"]
    chosen = np.random.default_rng(5).choice(len(cuts) - 1, count, replace=False)
    return [joined[cuts[place] : cuts[place + 1]].tobytes() for place in chosen]


def spoilt(data: Path, count: int) -> list[bytes]:
    """Photos of animals only, blurred and noisy: other classes, and another camera."""
    with np.load(data / "cifar10" / "devtest.npz", allow_pickle=False) as archive:
        joined, cuts, labels, names = (archive[key] for key in ("jpeg", "offsets", "labels", "classes"))
    animals = np.flatnonzero(np.isin(names[labels], ["bird", "cat", "deer", "dog", "frog", "horse"]))
    rng = np.random.default_rng(6)
    files = []
    for place in rng.choice(animals, count):
        photo = Image.open(io.BytesIO(joined[cuts[place] : cuts[place + 1]].tobytes())).convert("RGB")
        blurred = np.asarray(photo.filter(ImageFilter.GaussianBlur(0.5)), np.float64)
        files.append(encode((blurred + rng.normal(0, 50, blurred.shape)).clip(0, 255).astype(np.uint8)))
    return files


def send(url: str, model: str, files: Sequence[bytes], **budget: Any) -> list[dict[str, Any]]:
    """Answers to all files, sent four at a time."""
    post = partial(CLIENT.post, f"{url}/v1/models/{model}/predict", params=budget)
    with ThreadPoolExecutor(4) as threads:
        return [answer(response) for response in threads.map(lambda file: post(content=file), files)]


def until(reached: Callable[[], bool]) -> None:
    """Wait for something that has to come; the limit is only there to end the test."""
    limit = time.monotonic() + 240
    while not reached():
        assert time.monotonic() < limit, "it never came"
        time.sleep(0.05)


def wait_for_audits(url: str, count: int) -> None:
    """Shadows run on idle compute: a slow machine would else be sent everything before the first of them is through."""
    until(lambda: Scrape.of(url).total("offramp_shadow_audits_total") == count)


def state(url: str) -> dict[str, Any]:
    """The only model, as the list shows it."""
    (model,) = CLIENT.get(f"{url}/v1/models").json()["models"]
    return dict(model)


def billed(scrape: Scrape) -> float:
    """MACs that served answers, by the metrics."""
    return scrape.total("offramp_compute_macs_total")


def check(url: str, model: str, calm: Sequence[bytes], shifted: Sequence[bytes]) -> None:
    """A calm time, a shift, and what is left of the promise."""
    answers = send(url, model, calm)
    wait_for_audits(url, len(calm))
    scrape = Scrape.of(url)
    issued = CLIENT.get(f"{url}/v1/models/{model}").json()["default"]
    assert (state(url)["state"], issued["status"], issued["monitored"]) == ("ready", "valid", True)
    assert scrape.total("offramp_certificate_valid") == 1
    assert scrape.total("offramp_shadow_alarms_total") == 0
    assert scrape.total("offramp_wasted_macs_total", reason="shadow") > 0
    assert scrape.total("offramp_requests_total") == len(calm), "a shadow is no request"

    sent = 0
    while state(url)["state"] == "ready":
        assert sent < len(shifted), "no alarm"
        answers += send(url, model, shifted[sent : sent + 25])
        sent += 25
        wait_for_audits(url, len(answers))
    scrape, default = Scrape.of(url), CLIENT.get(f"{url}/v1/models/{model}").json()["default"]
    assert default["id"] in state(url)["reason"]
    assert (default["id"], default["status"]) == (issued["id"], "suspended")
    assert default["in_force"]["price"] != default["price"]
    assert default["in_force"]["mean_mmacs"] > default["mean_mmacs"]
    assert scrape.total("offramp_certificate_valid") == 0
    assert scrape.total("offramp_shadow_alarms_total") >= 1
    assert round(billed(scrape)) == sum(round(one["compute"]["mmacs"] * 1e6) for one in answers)
    assert CLIENT.get(f"{url}/readyz").status_code == 200, "a degraded model serves on"

    (certified,) = send(url, model, calm[:1], agreement=default["target"])
    assert certified["budget"]["certificate"] == default["in_force"]["id"]
    assert certified["budget"]["price"] == default["in_force"]["price"]


def test_a_planted_shift_raises_the_alarm_and_steps_the_price_down(audited: str) -> None:
    check(audited, "colours", noisy(CALM, seed=51)[0], misleading(MOST_SHIFTED, seed=52))
    deceived = send(audited, "colours", misleading(5, seed=53))
    assert {one["exit"] for one in deceived} == {"last"}, "nothing but the full network stands against such pictures"


@pytest.mark.slow
def test_blur_noise_and_other_classes_raise_the_alarm(audited_shipped: str, data_dir: Path) -> None:
    check(audited_shipped, SHIPPED, photos(data_dir, CALM), spoilt(data_dir, MOST_SHIFTED))
