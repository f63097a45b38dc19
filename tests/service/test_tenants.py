"""API keys and quotas on a live server: who gets in, who pays, and what the metrics say of it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.conftest import StartServer
from tests.service.wire import CLIENT, FULL_MACS, PREDICT, RED, Scrape, answer, macs, noisy, post, problem

BIG, SMALL, STRANGER, ADMIN = ({"Authorization": f"Bearer {key}"} for key in ("big", "small", "stranger", "admin"))


def digest(key: str) -> str:
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


@pytest.fixture(scope="module")
def guarded(start_server: StartServer, colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Asks for keys: one without a quota, one that a full walk puts ten seconds into debt, one for another model."""
    tenants = [
        {"name": "big", "keys": [digest("big"), digest("big-too")]},
        {
            "name": "small",
            "keys": [digest("small")],
            "mmacs_per_s": FULL_MACS / 1e8,
            "burst_mmacs": FULL_MACS * 0.9 / 1e6,
        },
        {"name": "stranger", "keys": [digest("stranger")], "models": ["another"]},
        {"name": "admin", "keys": [digest("admin")], "admin": True},
    ]
    file = tmp_path_factory.mktemp("tenants") / "tenants.yaml"
    file.write_text(yaml.safe_dump({"tenants": tenants}))
    with start_server("--models", str(colours), OFFRAMP_TENANTS=str(file), OFFRAMP_SHADOW_SHARE="1") as url:
        yield url


def test_without_a_key_nobody_gets_in(guarded: str) -> None:
    for headers in ({}, {"X-Api-Key": "wrong"}, {"Authorization": "Basic big"}):
        for path in (PREDICT, "/v1/predict"):
            refused = post(guarded, path=path, headers=headers)
            assert problem(refused, 401)["type"].endswith("unauthenticated")
            assert refused.headers["www-authenticate"] == "Bearer"
    assert Scrape.of(guarded).total("offramp_refused_total", reason="unauthenticated") >= 3


def test_health_metrics_and_models_need_none(guarded: str) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/v1/models", "/v2/health/ready"):
        assert CLIENT.get(f"{guarded}{path}").status_code == 200


def test_a_key_opens_only_its_models(guarded: str) -> None:
    assert problem(post(guarded, headers=STRANGER), 403)["type"].endswith("forbidden")
    assert problem(post(guarded, path="/v1/predict", headers=STRANGER), 403)
    infer = CLIENT.post(f"{guarded}/v2/models/colours/infer", headers=STRANGER, json={"inputs": []})
    assert infer.status_code == 403
    assert "error" in infer.json()


def test_a_tenant_pays_what_its_receipts_say(guarded: str) -> None:
    before = Scrape.of(guarded).total("offramp_tenant_macs_total", tenant="big")
    images, _ = noisy(12, seed=1)
    keys = (BIG, {"X-Api-Key": "big-too"})
    paid = sum(macs(answer(post(guarded, image, headers=keys[n % 2]))) for n, image in enumerate(images))
    after = Scrape.of(guarded).total("offramp_tenant_macs_total", tenant="big")
    assert after - before == paid > 0


def test_who_has_used_up_its_quota_is_told_when_to_come_back(guarded: str) -> None:
    first = post(guarded, path=f"{PREDICT}?agreement=1", headers=SMALL)
    assert macs(answer(first)) == FULL_MACS
    refused = post(guarded, headers=SMALL)
    document = problem(refused, 429)
    assert document["type"].endswith("quota-exceeded")
    assert document["retryable"] is True
    assert 0 < document["retry_after"] <= 10
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    scrape = Scrape.of(guarded)
    assert scrape.total("offramp_refused_total", reason="quota-exceeded") >= 1
    assert scrape.total("offramp_tenant_refused_total", tenant="small") >= 1
    assert scrape.total("offramp_tenant_quota_macs", tenant="small") == pytest.approx(FULL_MACS / 100)
    assert answer(post(guarded, headers=BIG))  # the others aren't held up


def test_a_crowd_at_once_doesn_t_get_past_a_quota(start_server: StartServer, colours: Path, tmp_path: Path) -> None:
    entry = {"name": "small", "keys": [digest("small")], "mmacs_per_s": 1e-6, "burst_mmacs": FULL_MACS * 2.5 / 1e6}
    (file := tmp_path / "tenants.yaml").write_text(yaml.safe_dump({"tenants": [entry]}))
    with start_server("--models", str(colours), OFFRAMP_TENANTS=str(file)) as url:
        found: list[int] = []
        crowd = [
            threading.Thread(
                target=lambda: found.append(post(url, RED, path=f"{PREDICT}?agreement=1", headers=SMALL).status_code)
            )
            for _ in range(12)
        ]
        for one in crowd:
            one.start()
        for one in crowd:
            one.join()
        assert sorted(found) == [200] * 3 + [429] * 9


def test_only_an_administrator_changes_what_is_served(guarded: str) -> None:
    for what in ("unload", "load"):
        url = f"{guarded}/v2/repository/models/colours/{what}"
        assert CLIENT.post(url, json={}).status_code == 401
        assert CLIENT.post(url, json={}, headers=BIG).status_code == 403
        assert CLIENT.post(url, json={}, headers=ADMIN).status_code == 200


def test_a_wrong_file_stops_the_start(tmp_path: Path, colours: Path) -> None:
    (file := tmp_path / "tenants.yaml").write_text("tenants: []")
    done = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--models", str(colours)],
        env={"PATH": "", "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OFFRAMP_TENANTS": str(file)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "OFFRAMP_TENANTS" in done.stderr
