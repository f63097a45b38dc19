"""What is rendered has the shapes that OpenAPI promises, and is JSON whatever the numbers are."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from service.answer import Answer
from service.api import render
from service.api.schemas import AnswerShape, ModelLine, ModelShape
from service.core import CHEAPEST, FULL, Budget, OnMiss, Price
from service.engine import Engine, Sample
from service.media.source import Limits, open_source
from tests import packages
from tests.service.wire import RED, noisy

BUDGETS = [
    Budget(),
    Budget(agreement=1.0),
    Budget(agreement=0.9, priority=0),
    Budget(compute_mmacs=3),
    Budget(latency_ms=60_000, on_miss=OnMiss.FAIL),
    Budget(latency_ms=0.001),
]


def predict(engine: Engine, budget: Budget, data: bytes, *, explain: bool) -> Answer:
    sample = Sample(lambda: open_source("image", data, None, Limits()), budget, time.monotonic(), explain)
    (made,) = asyncio.run(engine.predict(engine.model("colours"), [sample]))
    return made


def as_sent(shown: dict[str, Any]) -> str:
    """As the server would send it: infinities would be no JSON."""
    return json.dumps(shown, allow_nan=False)


@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: str(budget.asked))
def test_every_answer_is_of_its_shape(engine: Engine, budget: Budget, explain: bool) -> None:
    for file in [RED, *noisy(4, seed=41)[0]]:
        shown = AnswerShape.model_validate_json(as_sent(render.answer(predict(engine, budget, file, explain=explain))))
        assert (shown.walk is not None) == explain
        assert shown.budget.asked == json.loads(json.dumps(budget.asked))


def test_a_model_is_of_its_shape(engine: Engine) -> None:
    shown = ModelShape.model_validate_json(as_sent(render.model(engine.model("colours"))))
    assert shown.labels == list(packages.LABELS)
    assert shown.exits == list(packages.EXITS)
    assert len(shown.curve) == 19


def test_lines_are_of_their_shape(engine: Engine) -> None:
    assert ModelLine.model_validate_json(as_sent(render.line(engine.model("colours")))).state == "ready"
    ((name, reason),) = engine.failed.items()
    failed = ModelLine.model_validate_json(as_sent(render.out(name, "failed", reason)))
    assert (failed.name, failed.state, failed.version) == ("spoilt", "failed", None)


@pytest.mark.parametrize(
    ("price", "shown"), [(FULL, "full"), (CHEAPEST, "cheapest"), (Price(0.0), 0.0), (Price(2.5), 2.5)]
)
def test_a_price_is_a_number_or_a_word(price: Price, shown: float | str) -> None:
    assert render.price(price) == shown


def test_the_example_of_the_documentation_is_of_its_shape() -> None:
    (example,) = AnswerShape.model_json_schema()["examples"]
    assert AnswerShape.model_validate(example).output.label == "cat"
