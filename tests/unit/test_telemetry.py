"""What happens to walkers is what the counters say, to the last MAC."""

from __future__ import annotations

from asyncio import CancelledError
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.utils import floatToGoString

from service.core import CHEAPEST, FULL, Caller, Deadline, Outcome, Price, Reason, Standing, Terms, Walker
from service.errors import (
    Cancelled,
    DeadlinePassed,
    ImpossibleBudget,
    Malformed,
    OfframpError,
    Overloaded,
    StageFailed,
)
from service.package.graph import StageGraph
from service.package.load import load
from service.telemetry import FAILED, OUTCOMES, READY, SLACK, STATES, UNLOADED, Metrics, ModelTelemetry
from tests.packages import EXITS, MACS, STAGES


@pytest.fixture
def metrics() -> Metrics:
    return Metrics.new()


@pytest.fixture(scope="module")
def graph(colours: Path) -> StageGraph:
    return load(colours).graph


@pytest.fixture
def telemetry(metrics: Metrics, graph: StageGraph) -> ModelTelemetry:
    return ModelTelemetry(metrics, "colours", graph)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"model": "colours", **labels})


def walked(stages: int) -> Walker:
    """A walker that came at second 10 with 0.5 s to spend, and ran the first stages in a tenth of a second each."""
    terms = Terms(FULL, CHEAPEST, Deadline(10.5), sum(MACS), 10.5)
    walker = Walker("colours", terms, 10.0, {}, lambda *_: None)
    for place in range(stages):
        walker.ledger.charge(STAGES[place], macs=MACS[place], device_s=0.1)
    walker.ledger.queue_s = 0.05
    return walker


def answer(exit_taken: int, reason: Reason = Reason.CONFIDENT) -> Outcome:
    return Outcome(reason, Standing(EXITS[exit_taken], np.ones(3), 0.9), None, 10.3, Price(0.0))


def failure(error: OfframpError) -> Outcome:
    return Outcome(None, None, error, 10.3, Price(0.0))


def outcomes(metrics: Metrics) -> dict[str, float]:
    """The requests counted by outcome, without those that were none."""
    counted = {outcome: value(metrics, "offramp_requests_total", outcome=outcome) for outcome in OUTCOMES}
    return {outcome: number for outcome, number in counted.items() if number}


def slack(metrics: Metrics) -> str | None:
    """The first bucket of slack with anything in it. A histogram that goes below 0 has no sum."""
    bounds = (floatToGoString(bound) for bound in SLACK)
    return next((le for le in bounds if value(metrics, "offramp_deadline_slack_seconds_bucket", le=le)), None)


def test_a_model_begins_with_every_outcome_at_nothing(metrics: Metrics, telemetry: ModelTelemetry) -> None:
    assert [value(metrics, "offramp_requests_total", outcome=outcome) for outcome in OUTCOMES] == [0.0] * len(OUTCOMES)
    assert value(metrics, "offramp_exits_total", exit="early", reason="confident") == 0.0
    assert value(metrics, "offramp_compute_macs_total", stage="look") == 0.0


def test_an_answer_s_receipt_is_what_is_counted(metrics: Metrics, telemetry: ModelTelemetry) -> None:
    walker, outcome = walked(2), answer(1)
    telemetry.ended(walker, outcome)
    telemetry.answered(walker, outcome, seconds=0.3, budgets={"latency_ms": True, "accuracy": True})
    assert outcomes(metrics) == {"ok": 1.0}
    assert [value(metrics, "offramp_compute_macs_total", stage=stage) for stage in STAGES] == [*MACS[:2], 0]
    assert value(metrics, "offramp_request_compute_macs_sum") == sum(MACS[:2])
    assert value(metrics, "offramp_saved_macs_total") == MACS[2]
    assert value(metrics, "offramp_exits_total", exit="middle", reason="confident") == 1
    assert value(metrics, "offramp_request_device_seconds_sum") == pytest.approx(0.2)
    assert value(metrics, "offramp_queue_seconds_sum") == pytest.approx(0.05)
    assert value(metrics, "offramp_request_duration_seconds_sum") == pytest.approx(0.3)
    assert slack(metrics) == "0.5"
    assert value(metrics, "offramp_budget_total", budget="accuracy", met="true") == 1


def test_macs_of_stages_are_those_of_answers_and_the_rest_is_waste(metrics: Metrics, telemetry: ModelTelemetry) -> None:
    for stages in (1, 2, 3, 3):
        telemetry.ended(walked(stages), answer(stages - 1))
        telemetry.answered(walked(stages), answer(stages - 1), seconds=0.1, budgets={})
    for error in (Cancelled("gone"), DeadlinePassed("late"), StageFailed("broken")):
        telemetry.ended(walked(2), failure(error))
    run = sum(value(metrics, "offramp_compute_macs_total", stage=stage) or 0 for stage in STAGES)
    wasted = [value(metrics, "offramp_wasted_macs_total", reason=why) for why in ("cancelled", "expired", "error")]
    assert wasted == [sum(MACS[:2])] * 3
    assert run == value(metrics, "offramp_request_compute_macs_sum")
    assert outcomes(metrics) == {"ok": 4, "cancelled": 1, "expired": 1, "error": 1}


@pytest.mark.parametrize(
    ("budgets", "reason", "outcome"),
    [
        ({}, Reason.LAST, "ok"),
        ({"latency_ms": True}, Reason.DEADLINE, "ok"),
        ({"latency_ms": False}, Reason.LAST, "degraded"),
        ({"latency_ms": True, "accuracy": False}, Reason.DEADLINE, "degraded"),
        ({"compute_mmacs": True}, Reason.COMPUTE, "ok"),
        ({}, Reason.OVERLOAD, "degraded"),
    ],
)
def test_an_answer_is_ok_only_if_all_its_budgets_are_kept(
    metrics: Metrics, telemetry: ModelTelemetry, budgets: dict[str, bool], reason: Reason, outcome: str
) -> None:
    telemetry.answered(walked(3), answer(2, reason), seconds=0.3, budgets=budgets)
    assert outcomes(metrics) == {outcome: 1}
    for budget, met in budgets.items():
        assert value(metrics, "offramp_budget_total", budget=budget, met=str(met).lower()) == 1


def test_slack_is_told_only_of_deadlines_that_were_asked_for(metrics: Metrics, telemetry: ModelTelemetry) -> None:
    telemetry.answered(walked(1), answer(0), seconds=0.3, budgets={"accuracy": True})
    assert slack(metrics) is None
    telemetry.answered(walked(1), answer(0), seconds=0.7, budgets={"latency_ms": False})
    assert slack(metrics) == "-0.1"


def test_an_input_that_is_refused_has_a_reason(metrics: Metrics, telemetry: ModelTelemetry) -> None:
    telemetry.refused(ImpossibleBudget("no"))
    telemetry.dropped(Malformed("no picture"))
    assert outcomes(metrics) == {"rejected": 2}
    assert value(metrics, "offramp_refused_total", reason="malformed") == 1
    assert value(metrics, "offramp_refused_total", reason="impossible-budget") == 1


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (CancelledError(), "cancelled"),
        (Cancelled("gone"), "cancelled"),
        (DeadlinePassed("late"), "expired"),
        (StageFailed("broken"), "error"),
        (RuntimeError("broken"), "error"),
    ],
)
def test_whatever_ends_an_input_counts_once(
    metrics: Metrics, telemetry: ModelTelemetry, error: BaseException, outcome: str
) -> None:
    telemetry.dropped(error, 7)
    assert outcomes(metrics) == {outcome: 1}
    assert value(metrics, "offramp_wasted_macs_total", reason=outcome) == 7


def test_no_answer_without_a_standing_one(metrics: Metrics, telemetry: ModelTelemetry) -> None:
    with pytest.raises(ValueError, match="standing"):
        telemetry.answered(walked(1), failure(Cancelled("gone")), seconds=0.1, budgets={})
    assert outcomes(metrics) == {}


def test_the_buckets_of_an_answer_name_the_request_where_the_form_can(
    metrics: Metrics, telemetry: ModelTelemetry
) -> None:
    for request_id in ("abc-1", "", "x" * 120):
        walker = walked(1)
        walker.caller = Caller(request_id)
        telemetry.answered(walker, answer(0), seconds=0.3, budgets={})
    page = openmetrics.generate_latest(metrics.registry).decode()
    named = [line for line in page.splitlines() if " # {" in line]
    assert len(named) == 2
    assert all('{request_id="abc-1"}' in line for line in named)
    assert "request_id" not in generate_latest(metrics.registry).decode()


def test_a_model_is_in_one_state(metrics: Metrics) -> None:
    for state in (READY, UNLOADED, FAILED):
        metrics.tell_state("colours", state)
        assert [one for one in STATES if value(metrics, "offramp_model_state", state=one)] == [state]


def test_two_servers_of_a_process_share_no_counts(graph: StageGraph) -> None:
    first, second = Metrics.new(), Metrics.new()
    ModelTelemetry(first, "colours", graph).refused(Overloaded("full", retry_after=1))
    ModelTelemetry(second, "colours", graph)
    assert (outcomes(first), outcomes(second)) == ({"rejected": 1}, {})


def test_the_page_has_no_sample_of_creation_times(metrics: Metrics, telemetry: ModelTelemetry) -> None:
    page = generate_latest(metrics.registry).decode()
    assert "offramp_requests_total" in page
    assert "_created" not in page
