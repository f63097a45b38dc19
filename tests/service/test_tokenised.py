"""What a walk doesn't read isn't tokenised: counted inside the engine that serves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.core import Budget
from service.engine import Engine, Sample
from service.media import text
from service.model import limits
from service.settings import Settings

POST = "The shuttle was launched into orbit this morning, and nobody knows yet whether the modem works there. " * 700


class Counting:
    """A tokenizer that notes how many characters it was given."""

    def __init__(self, file: Path) -> None:
        self.inner, self.characters = text.Tokenizer.from_file(str(file)), 0

    def encode(self, passage: str, **options: bool) -> object:
        self.characters += len(passage)
        return self.inner.encode(passage, **options)


@pytest.fixture
def engine(zoo: Path) -> Iterator[Engine]:
    path = zoo / "news20-reader"
    made = Engine(Settings(models=(path,), lanes=1, shadow_share=0.0))
    made.load()
    made.start()
    yield made
    made.stop()


def test_three_chunks_of_a_very_long_post_are_all_that_is_tokenised(
    engine: Engine, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(zoo / "news20-reader" / "tokenizer.json")
    monkeypatch.setattr(text, "tokenizer", lambda _: counting)
    model = engine.model("news20-reader")
    stage = model.package.manifest.stages[0]
    chars = next(glimpse.chars for glimpse in stage.glimpses.values() if glimpse.glimpse == "tokens")
    budget = Budget(agreement=1, compute_mmacs=3.5 * stage.macs_per_row / 1e6)
    held = limits(engine.settings)
    sample = Sample(lambda: model.open(POST.encode(), "text/plain", held), budget, time.monotonic())
    (answer,) = asyncio.run(engine.predict(model, [sample]))
    assert answer.ledger.rows == 3
    assert 2.5 * chars < counting.characters < 4.5 * chars
    assert len(POST) > 200 * chars
