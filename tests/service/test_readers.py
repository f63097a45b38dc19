"""The shipped readers of text, over HTTP: what they read, when they stop, and what a budget changes of that."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import StartServer
from tests.service.test_stream import STREAM, events
from tests.service.wire import CLIENT, answer, macs, problem

REVIEWS = ("imdb-stop", "imdb-jump", "imdb-skip")
NAMES = (*REVIEWS, "news20-reader")
CLEAR = (
    "Wonderful, one of the best films I have ever seen: "
    "a superb cast, a perfect and touching story, highly recommended. "
)
MIXED = (
    "The first half is slow and the acting wooden, and yet the photography is beautiful. "
    "A few scenes are a waste of time; others I loved. I was bored, then moved, then bored again. "
)


CLEAR_OR_NOT = {"imdb-stop": (431, 437), "imdb-jump": (431, 437), "news20-reader": (253, 185)}
"""Rows of devtest, of eight to fourteen chunks each: one whose first chunks say it all, and one that stays doubtful."""
LONGEST_POST = 53
"""A row of news20's devtest: 160,471 characters, a listing that its first chunk gives away."""


@pytest.fixture(scope="module")
def served(start_server: StartServer, zoo: Path) -> Iterator[str]:
    there = [zoo / name for name in NAMES if (zoo / name).is_dir()]
    if len(there) < len(NAMES):
        pytest.skip(f"models/zoo has {[path.name for path in there]} of {NAMES}")
    options = [part for path in there for part in ("--models", str(path))]
    with start_server(*options, OFFRAMP_DEFAULT_DEADLINE_MS="600000") as url:
        yield url


def ask(url: str, name: str, text: str, query: str = "") -> dict[str, Any]:
    path = f"{url}/v1/models/{name}/predict{query}"
    return answer(CLIENT.post(path, content=text.encode(), headers={"Content-Type": "text/plain; charset=utf-8"}))


def devtest(data_dir: Path, name: str, row: int) -> str:
    """A text of the data set as the reader's recipe has it: of a post its body."""
    corpus = "news20" if name == "news20-reader" else "imdb"
    with lzma.open(data_dir / corpus / "devtest.jsonl.xz", "rt", encoding="utf8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    if corpus == "imdb":
        return str(texts[row])
    bodies = [text.partition("\n\n")[2] for text in texts]
    return [body for body in bodies if body.strip()][row]


def whole_chunks(shown: dict[str, Any]) -> int:
    """How many chunks the text has that a walk began to read."""
    return next(look["chunks"] for look in shown["walk"][0]["seen"] if "chunks" in look)


def chunks_seen(shown: dict[str, Any]) -> list[int]:
    """Numbers of the chunks that a walk looked at, in its order."""
    return [look["chunk"] for step in shown["walk"] for look in step["seen"] if "chunk" in look]


def kinds(shown: dict[str, Any]) -> list[str]:
    """The stages of a walk, whatever their lap."""
    return [stage.rstrip("0123456789") for stage in shown["compute"]["stages"]]


def characters_seen(shown: dict[str, Any]) -> list[tuple[int, int]]:
    return [tuple(look["chars"]) for step in shown["walk"] for look in step["seen"] if "chars" in look]


@pytest.mark.parametrize("name", NAMES)
def test_the_full_walk_reads_every_chunk_once_and_counts_as_the_whole(served: str, name: str) -> None:
    text = MIXED * 9
    shown = ask(served, name, text, "?agreement=1&explain=true")
    read = chunks_seen(shown)
    assert sorted(read) == list(range(len(read)))
    assert shown["compute"]["fraction_of_full"] == 1
    assert len(shown["compute"]["stages"]) == len(read)
    spans = sorted(characters_seen(shown))
    assert (spans[0][0], spans[-1][1]) == (0, len(text))
    assert all(one[1] == other[0] for one, other in pairwise(spans))


def test_a_short_text_is_its_own_whole(served: str) -> None:
    for name in NAMES:
        shown = ask(served, name, "A film.")
        assert shown["compute"]["fraction_of_full"] == 1
        assert shown["reason"] == "last"


def test_both_ends_are_read_first(served: str) -> None:
    shown = ask(served, "imdb-stop", MIXED * 9, "?agreement=1&explain=true")
    read = chunks_seen(shown)
    assert read == [len(read) - 1, 0, *range(len(read) - 2, 0, -1)]


@pytest.mark.parametrize("name", CLEAR_OR_NOT)
def test_two_texts_take_different_walks_and_a_budget_changes_them(served: str, data_dir: Path, name: str) -> None:
    clear, mixed = (devtest(data_dir, name, row) for row in CLEAR_OR_NOT[name])
    short, long, cheap = (
        ask(served, name, text, f"?{budget}&explain=true")
        for text, budget in ((clear, _WILLING), (mixed, _WILLING), (mixed, "agreement=0.9"))
    )
    sizes = [whole_chunks(shown) for shown in (short, long)]
    assert len(chunks_seen(short)) <= 3 < sizes[0]
    assert len(chunks_seen(long)) > sizes[1] / 2
    assert 0 < len(chunks_seen(cheap)) < len(chunks_seen(long))
    assert (short["reason"], cheap["reason"]) == ("confident", "confident")
    assert not any(shown["budget"]["forced"] for shown in (short, long, cheap))
    assert short["compute"]["fraction_of_full"] < 0.5 < long["compute"]["fraction_of_full"]


def test_two_reviews_are_skipped_and_skimmed_each_in_its_way(served: str, data_dir: Path) -> None:
    clear, mixed = (devtest(data_dir, "imdb-skip", row) for row in CLEAR_OR_NOT["imdb-stop"])
    short, long, cheap, other = (
        ask(served, "imdb-skip", text, f"?{budget}&explain=true")
        for budget in (_WILLING, "agreement=0.9")
        for text in (clear, mixed)
    )
    assert kinds(long) == ["read"] * whole_chunks(long)
    assert kinds(short).count("skim") > whole_chunks(short) / 2
    assert chunks_seen(short) == list(range(whole_chunks(short)))
    for shown, text in ((cheap, clear), (other, mixed)):
        left_out = set(range(whole_chunks(shown))) - set(chunks_seen(shown))
        assert left_out, "nothing was skipped"
        assert chunks_seen(shown) == sorted(chunks_seen(shown))
        assert sum(end - start for start, end in characters_seen(shown)) < len(text)
    assert chunks_seen(cheap) != chunks_seen(other)
    costs = [shown["compute"]["fraction_of_full"] for shown in (cheap, other, short, long)]
    assert costs == sorted(costs)
    assert not any(shown["budget"]["forced"] for shown in (short, long, cheap, other))


def test_the_longest_post_is_read_where_it_tells_and_nowhere_else(served: str, data_dir: Path) -> None:
    post = devtest(data_dir, "news20-reader", LONGEST_POST)
    assert len(post) > 150_000
    look = ask(served, "news20-reader", "A word.")["compute"]["mmacs"]
    shown = ask(served, "news20-reader", post, f"?agreement=1&compute_mmacs={3.5 * look}&explain=true")
    spans = characters_seen(shown)
    assert len(spans) == len(shown["compute"]["stages"]) == 3
    assert sorted(spans)[0][0] == 0
    assert sorted(spans)[-1][1] == len(post)
    assert all(0 < end - start < 420 for start, end in spans)
    words = [word for step in shown["walk"] for seen in step["seen"] for word in seen.get("tokens", [])]
    assert words
    assert all(any(start <= word[0] and word[1] <= end for start, end in spans) for word in words)
    assert len(chunks_seen(ask(served, "news20-reader", post, "?explain=true"))) <= 3


@pytest.mark.parametrize("name", NAMES)
def test_a_compute_limit_is_kept_and_changes_the_walk(served: str, name: str) -> None:
    text = MIXED * 9
    full = ask(served, name, text, "?agreement=1")
    look = full["compute"]["mmacs"] / len(full["compute"]["stages"])
    limited = ask(served, name, text, f"?agreement=1&compute_mmacs={2.5 * look}")
    assert limited["compute"]["mmacs"] <= 2.5 * look
    assert limited["budget"]["forced"]
    assert 0 < len(limited["compute"]["stages"]) < len(full["compute"]["stages"])


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_streamed_while_reading_goes_on(served: str, name: str) -> None:
    path, text = f"{served}/v1/models/{name}/predict?agreement=1", MIXED * 6
    headers = STREAM | {"Content-Type": "text/plain"}
    with CLIENT.stream("POST", path, content=text.encode(), headers=headers) as response:
        assert response.status_code == 200
        told = list(events(response))
    exits = [data for kind, data in told if kind == "exit"]
    assert len(exits) == len(told) - 1 > 2
    costs = [macs(data) for data in exits]
    assert costs == sorted(set(costs))
    final = told[-1][1]
    assert (final["exit"], final["output"]) == (exits[-1]["exit"], exits[-1]["output"])


def test_a_very_long_post_costs_as_much_as_its_laps(served: str) -> None:
    post = (
        "The shuttle was launched into orbit by NASA this morning, and the satellite is on its way to the moon. " * 600
    )
    shown = ask(served, "news20-reader", post)
    assert shown["output"]["label"] == "sci.space"
    assert len(ask(served, "news20-reader", post, "?agreement=1")["compute"]["stages"]) == 32


@pytest.mark.parametrize(
    ("content", "kind", "status", "said"),
    [
        (b"", "text/plain", 400, "empty"),
        (b" \n ", "text/plain", 400, "white space"),
        (b"\x00\x01\x02 binary", "text/plain", 400, "control character"),
        (b"caf\xe9", "text/plain", 400, "isn't UTF-8"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "application/octet-stream", 415, "image/png"),
        (b"<p>film</p>", "text/html", 415, "text/html"),
        (b"film " * 300_000, "text/plain", 413, "the limit is 1048576"),
    ],
)
def test_what_is_no_text_is_refused_precisely(served: str, content: bytes, kind: str, status: int, said: str) -> None:
    path = f"{served}/v1/models/imdb-stop/predict"
    refused = CLIENT.post(path, content=content, headers={"Content-Type": kind})
    assert said in problem(refused, status)["detail"]


def test_text_in_json_and_in_v2_is_answered_alike(served: str) -> None:
    text = "Größartig! \N{PILE OF POO} " + CLEAR * 3
    plain = ask(served, "imdb-stop", "\N{BYTE ORDER MARK}" + text)
    document = {"inputs": [{"text": text}, {"text": "\ud800"}]}
    path = f"{served}/v1/models/imdb-stop/predict"
    assert "isn't UTF-8" in problem(CLIENT.post(path, content=_ascii(document), headers=_JSON), 400)["detail"]
    document["inputs"].pop()
    assert answer(CLIENT.post(path, json=document))["output"] == plain["output"]
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
    reply: httpx.Response = CLIENT.post(f"{served}/v2/models/imdb-stop/infer", json={"inputs": [tensor]})
    assert reply.status_code == 200
    label = next(output for output in reply.json()["outputs"] if output["name"] == "label")
    assert label["data"] == [plain["output"]["label"]]


def test_a_text_goes_to_a_model_that_reads_text(served: str) -> None:
    shown = answer(CLIENT.post(f"{served}/v1/predict", json={"inputs": [{"text": CLEAR}]}))
    assert shown["model"] in NAMES


_WILLING = "latency_ms=600000"
"""Reads on wherever that is expected to help at all."""
_JSON = {"Content-Type": "application/json"}


def _ascii(document: Any) -> bytes:
    return json.dumps(document).encode("ascii")
