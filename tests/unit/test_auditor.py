"""Draws by chance alone, takes results in the order of the draws, and tells what came of them."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import pytest

from service.auditor import Auditor, Sampling
from service.core import FULL, Audit, Price
from service.monitor.monitor import Monitor
from service.package.curves import Curve
from service.package.load import load
from service.telemetry import Metrics, ModelTelemetry


class Seen(Monitor):
    """A monitor that remembers what it learnt from."""

    def __init__(self, curve: Curve) -> None:
        super().__init__(curve, alpha=0.01)
        self.audits: list[Audit] = []

    def observe(self, audit: Audit) -> list[tuple[object, int]]:  # type: ignore[override]
        self.audits.append(audit)
        return super().observe(audit)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def colours_path(colours: Path) -> Path:
    return colours


@pytest.fixture
def metrics() -> Metrics:
    return Metrics.new()


def auditor(path: Path, metrics: Metrics, *, share: float = 1.0, most: int = 32) -> tuple[Auditor, Seen]:
    package = load(path)
    seen = Seen(Curve(package.record, package.graph.full_macs, package.digest, "CPU"))
    telemetry = ModelTelemetry(metrics, "colours", package.graph)
    return Auditor("colours", seen, telemetry, Sampling(share, most, Random(1))), seen


def value(metrics: Metrics, name: str) -> float:
    found = metrics.registry.get_sample_value(name, {"model": "colours"})
    assert found is not None
    return found


def filled(audit: Audit | None, *answers: int, complete: bool = True) -> Audit:
    assert audit is not None
    audit.worths = [Price(0.0)] * (len(answers) - 1) + [FULL]
    audit.answers, audit.complete = list(answers), complete
    return audit


def test_the_share_is_kept_and_the_seed_decides(colours_path: Path, metrics: Metrics) -> None:
    def draws() -> list[bool]:
        one, _ = auditor(colours_path, Metrics.new(), share=0.1, most=100_000)
        return [one.draw() is not None for _ in range(4_000)]

    first = draws()
    assert first == draws()
    assert abs(sum(first) - 400) < 4 * math.sqrt(4_000 * 0.1 * 0.9)


def test_a_share_of_0_draws_none_and_of_1_all(colours_path: Path, metrics: Metrics) -> None:
    none, _ = auditor(colours_path, metrics, share=0.0)
    assert [none.draw() for _ in range(100)] == [None] * 100
    every, _ = auditor(colours_path, metrics)
    assert None not in [every.draw() for _ in range(32)]


def test_no_more_audits_than_allowed_are_open(colours_path: Path, metrics: Metrics) -> None:
    one, _ = auditor(colours_path, metrics, most=2)
    first, second = filled(one.draw(), 1, 1, 1), filled(one.draw(), 1, 1, 1)
    assert one.draw() is None
    one.close(second)
    assert one.draw() is None, "the first is still open, and the second waits for it"
    one.close(first)
    assert one.draw() is not None


def test_results_count_in_the_order_of_the_draws(colours_path: Path, metrics: Metrics) -> None:
    one, seen = auditor(colours_path, metrics)
    audits = [filled(one.draw(), 1, 1, 1) for _ in range(4)]
    audits[2].complete = False
    for place in (3, 1, 2):
        one.close(audits[place])
    assert seen.audits == []
    one.close(audits[0])
    assert [audits.index(audit) for audit in seen.audits] == [0, 1, 3], "an incomplete one holds nobody up"
    assert value(metrics, "offramp_shadow_audits_total") == 3


def test_an_alarm_shows_in_state_and_metrics(colours_path: Path, metrics: Metrics) -> None:
    one, _ = auditor(colours_path, metrics)
    assert (one.trouble, value(metrics, "offramp_certificate_valid")) == (None, 1.0)
    assert math.isnan(value(metrics, "offramp_shadow_agreement_ratio"))
    one.close(filled(one.draw(), 1, 1, 1))
    assert value(metrics, "offramp_shadow_agreement_ratio") == 1.0
    issued = one.default
    for _ in range(80):
        one.close(filled(one.draw(), 0, 0, 1))
    assert one.default.price == FULL
    assert one.trouble is not None
    assert issued.id in one.trouble
    assert value(metrics, "offramp_certificate_valid") == 0.0
    assert value(metrics, "offramp_shadow_alarms_total") == 1.0
    for _ in range(3_000):
        one.close(filled(one.draw(), 1, 1, 1))
    assert (one.trouble, one.default) == (None, issued)
    assert value(metrics, "offramp_certificate_valid") == 1.0
    assert value(metrics, "offramp_shadow_alarms_total") == 1.0
