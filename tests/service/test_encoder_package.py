"""sst2-encoder over HTTP: sentences part ways, budgets move them, and the walk tells which words were read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.service.wire import CLIENT, answer

NAME = "sst2-encoder"
SENTENCES = [
    "a gorgeous , witty , seductive movie",
    "the worst film of the year , dull and utterly pointless",
    "it 's not without style , but you may wish that it were",
    "the story is better than the ending and the ending is better than you fear",
    "a film that is neither as bad as it looks nor as good as it thinks",
    "one long string of cliches",
    "you wo n't like roger , but you will quickly recognize him",
    "if steven soderbergh 's solaris is a failure it is a glorious failure",
]
"""Some plain, some that turn round half way."""


@pytest.fixture(scope="module")
def served(start_server: StartServer, zoo: Path) -> Iterator[str]:
    # No deadline shall raise the price, however slow the machine.
    with start_server("--models", str(zoo / NAME), OFFRAMP_DEFAULT_DEADLINE_MS="600000") as url:
        yield url


def walks(url: str, texts: list[str], **budget: Any) -> list[dict[str, Any]]:
    document = {"inputs": [{"text": text} for text in texts], "budget": budget, "explain": True}
    given = answer(CLIENT.post(f"{url}/v1/models/{NAME}/predict", json=document))
    answers: list[dict[str, Any]] = given["answers"] if len(texts) > 1 else [given]
    return answers


def mmacs(answers: list[dict[str, Any]]) -> float:
    return sum(one["compute"]["mmacs"] for one in answers)


def test_sentences_take_different_walks_and_a_budget_changes_them(served: str) -> None:
    full = walks(served, SENTENCES, agreement=1)
    default = walks(served, SENTENCES)
    assert {one["exit"] for one in full} == {"layer5"}
    assert all(one["compute"]["fraction_of_full"] == 1 for one in full)
    assert len({tuple(step["rows"] for step in one["walk"]) for one in default}) > 2
    assert len({one["exit"] for one in default}) > 1
    assert mmacs(default) < mmacs(full)
    assert [one["output"]["label"] for one in full[:2]] == ["positive", "negative"]


def test_a_longer_sentence_costs_more(served: str) -> None:
    short, long = walks(served, ["a fine film", "a fine film " * 12], agreement=1)
    assert short["compute"]["mmacs"] < long["compute"]["mmacs"] / 3


def test_the_walk_tells_which_words_were_kept(served: str) -> None:
    for text, one in zip(SENTENCES, walks(served, SENTENCES), strict=True):
        steps = {step["stage"]: step for step in one["walk"]}
        assert steps["bag"]["seen"] == [{"chars": [0, len(text)]}]
        if "embed" not in steps:
            continue
        (told,) = steps["embed"]["seen"]
        pieces = [text[slice(*piece)] for piece in told["tokens"]]
        assert "".join(pieces) == text.replace(" ", "")
        for layer in range(1, 6):
            if f"attend{layer}" in steps:
                kept = steps[f"attend{layer}"]["signals"]["kept"]
                assert sum(kept) == steps[f"transform{layer}"]["rows"] <= len(pieces) + 2
                assert not any(kept[len(pieces) + 2 :])


def test_a_limit_of_compute_holds(served: str) -> None:
    for one in walks(served, SENTENCES, compute_mmacs=60):
        assert one["compute"]["mmacs"] <= 60


def test_exits_stream_as_they_are_reached(served: str) -> None:
    with CLIENT.stream(
        "POST",
        f"{served}/v1/models/{NAME}/predict?agreement=1",
        content=SENTENCES[2].encode(),
        headers={"Accept": "text/event-stream", "Content-Type": "text/plain"},
    ) as response:
        lines = [line for line in response.iter_lines() if line]
    events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert events == ["exit"] * 6 + ["final"]
    told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert [one["exit"] for one in told] == ["bag", "layer1", "layer2", "layer3", "layer4", "layer5", "layer5"]


@pytest.mark.parametrize("text", ["!", "ü 很好 \N{PILE OF POO}", "film " * 20_000, "x" * 5_000])
def test_any_text_is_answered(served: str, text: str) -> None:
    (one,) = walks(served, [text], agreement=1)
    assert one["output"]["label"] in ("negative", "positive")
    assert one["compute"]["mmacs"] <= 590
