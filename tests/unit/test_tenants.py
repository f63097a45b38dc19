"""Quotas on a clock that the test turns, and the file of tenants."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest
import yaml

from service.errors import Forbidden, QuotaExceeded, SettingsError, Unauthenticated
from service.telemetry import Metrics
from service.tenants import Account, Tenant, Tenants

MMAC = 1_000_000


def digest(key: str) -> str:
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def tenant(**more: object) -> Tenant:
    return Tenant.model_validate({"name": "acme", "keys": [digest("sesame")], **more})


class Clock:
    """Seconds that pass when told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics.new()


def account(metrics: Metrics, clock: Clock, **more: object) -> Account:
    return Account(tenant(**more), metrics.tenant_macs.labels("acme"), metrics.tenant_refused.labels("acme"), clock)


def use(spender: Account, macs: int, most: int | None = None) -> None:
    with spender.holding(macs if most is None else most):
        spender.pay(macs)


def test_a_bucket_that_is_empty_says_when_it_is_not(metrics: Metrics, clock: Clock) -> None:
    spender = account(metrics, clock, mmacs_per_s=10, burst_mmacs=20)
    use(spender, 50 * MMAC)
    with pytest.raises(QuotaExceeded) as refused:
        use(spender, MMAC)
    assert refused.value.retry_after == pytest.approx(3.0)
    clock.now += 3.01
    use(spender, MMAC)
    assert metrics.registry.get_sample_value("offramp_tenant_macs_total", {"tenant": "acme"}) == 51 * MMAC
    assert metrics.registry.get_sample_value("offramp_tenant_refused_total", {"tenant": "acme"}) == 1


def test_what_a_request_may_cost_is_held_until_it_is_known(metrics: Metrics, clock: Clock) -> None:
    spender = account(metrics, clock, mmacs_per_s=10, burst_mmacs=20)
    with spender.holding(30 * MMAC):
        with pytest.raises(QuotaExceeded):
            use(spender, MMAC)
        spender.pay(MMAC)
    use(spender, MMAC)  # what was held and not used is there again


def test_a_bucket_holds_ten_seconds_unless_told_and_no_more(metrics: Metrics, clock: Clock) -> None:
    spender = account(metrics, clock, mmacs_per_s=1)
    clock.now += 1000
    use(spender, 10 * MMAC)
    with pytest.raises(QuotaExceeded):
        use(spender, 1)


def test_in_the_long_run_a_tenant_gets_its_rate(metrics: Metrics, clock: Clock) -> None:
    spender, used = account(metrics, clock, mmacs_per_s=10), 0
    for _ in range(10_000):
        clock.now += 0.01
        try:
            use(spender, MMAC, most=3 * MMAC)
            used += 1
        except QuotaExceeded:
            pass
    assert used == pytest.approx(10 * 100 + 100, abs=4)


def test_without_a_quota_everything_is_counted_and_nothing_refused(metrics: Metrics, clock: Clock) -> None:
    spender = account(metrics, clock)
    for _ in range(3):
        use(spender, 10**15)
    assert metrics.registry.get_sample_value("offramp_tenant_macs_total", {"tenant": "acme"}) == 3e15


def test_a_key_opens_what_its_tenant_may_use(metrics: Metrics, clock: Clock) -> None:
    spender = account(metrics, clock, models=["colours"])
    spender.check_model("colours")
    with pytest.raises(Forbidden, match="other"):
        spender.check_model("other")
    with pytest.raises(Forbidden, match="administrator"):
        spender.check_admin()
    account(metrics, clock, admin=True).check_admin()


def test_keys_come_as_bearer_or_in_a_header_of_their_own(metrics: Metrics) -> None:
    tenants = Tenants((tenant(),), metrics)
    for headers in ({"authorization": "Bearer sesame"}, {"authorization": "bearer  sesame"}, {"x-api-key": "sesame"}):
        found = tenants.account(headers)
        assert found is not None
        assert found.tenant.name == "acme"
    for wrong in ({}, {"authorization": "Basic sesame"}, {"x-api-key": "other"}, {"authorization": "Bearer"}):
        with pytest.raises(Unauthenticated):
            tenants.account(wrong)
    assert Tenants((), metrics).account({}) is None
    assert not Tenants((), metrics)


def written(folder: Path, document: object) -> Path:
    (file := folder / "tenants.yaml").write_text(yaml.safe_dump(document))
    return file


def test_a_file_is_read(tmp_path: Path, metrics: Metrics) -> None:
    entry = {"name": "acme", "keys": [digest("sesame")], "mmacs_per_s": 500}
    assert Tenants.of(written(tmp_path, {"tenants": [entry]}), metrics)
    assert metrics.registry.get_sample_value("offramp_tenant_quota_macs", {"tenant": "acme"}) == 5e8
    assert not Tenants.of(None, metrics)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"tenants": []}, "tenants"),
        ({"tenants": [{"name": "acme", "keys": ["sesame"]}]}, r"tenants\.0\.keys"),
        ({"tenants": [{"name": "a b", "keys": [digest("k")]}]}, r"tenants\.0\.name"),
        ({"tenants": [{"name": "a", "keys": [digest("k")], "mmacs_per_s": math.inf}]}, "mmacs_per_s"),
        ({"tenants": [{"name": "a", "keys": [digest("k")], "quota": 1}]}, "quota"),
        ({"tenants": [{"name": n, "keys": [digest("k")]} for n in "ab"]}, "same key"),
        ({"tenants": [{"name": "a", "keys": [digest(k)]} for k in "ab"]}, "same tenant"),
        ([], "tenants.yaml"),
    ],
)
def test_a_wrong_file_stops_the_start_and_shows_no_key(
    tmp_path: Path, metrics: Metrics, document: object, told: str
) -> None:
    with pytest.raises(SettingsError, match=told) as error:
        Tenants.of(written(tmp_path, document), metrics)
    assert "sesame" not in error.value.detail


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path, metrics: Metrics) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        Tenants.of(tmp_path / "none.yaml", metrics)
