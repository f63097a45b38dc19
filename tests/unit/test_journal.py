"""Log lines: JSON that a machine can read, and a line an input only when asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import numpy as np
import pytest

from service import journal
from service.core import CHEAPEST, FULL, NEVER, Caller, Outcome, Price, Reason, Standing, Terms, Walker
from service.errors import Malformed

OUTCOME = Outcome(Reason.CONFIDENT, Standing("early", np.ones(3), 0.9), None, 10.3, Price(0.0))


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    """The level is the process's: put it back."""
    before = journal.ACCESS.level
    yield
    journal.ACCESS.setLevel(before)


def walker() -> Walker:
    made = Walker("colours", Terms(FULL, CHEAPEST, NEVER, 100, 0.0), 0.0, {}, lambda *_: None, caller=Caller("id-1"))
    made.ledger.charge("look", macs=7, device_s=0.002)
    return made


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [json.loads(journal.JsonLines().format(record)) for record in caplog.records]


def tell() -> None:
    one = walker()
    journal.answered("colours", one.caller, one, OUTCOME, counted="ok", seconds=0.01)
    journal.dropped("colours", one.caller, Malformed("no \u2028 picture"), counted="rejected", macs=0)


def test_inputs_are_logged_only_on_demand(caplog: pytest.LogCaptureFixture) -> None:
    tell()
    assert not caplog.records


def test_a_line_says_who_asked_what_came_out_and_what_it_cost(caplog: pytest.LogCaptureFixture) -> None:
    journal.ACCESS.setLevel(logging.INFO)
    tell()
    answered, dropped = lines(caplog)
    assert {"time", "level", "logger", "message"} <= set(answered)
    shown = {name: answered[name] for name in ("request_id", "model", "outcome", "exit", "reason", "macs", "device_ms")}
    assert shown == {
        "request_id": "id-1",
        "model": "colours",
        "outcome": "ok",
        "exit": "early",
        "reason": "confident",
        "macs": 7,
        "device_ms": 2.0,
    }
    assert (dropped["request_id"], dropped["outcome"], dropped["error"]) == ("id-1", "rejected", "malformed")


def test_a_record_is_one_line_whatever_it_says() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        told = (type(error), error, error.__traceback__)
        record = logging.LogRecord("offramp", logging.ERROR, "", 0, "said %s", ("a\nb",), told)
    line = journal.JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == "said a\nb"
    assert "ValueError: two" in json.loads(line)["exception"]
