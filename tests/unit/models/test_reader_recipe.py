"""The recipe of a reader from texts to card, on made-up reviews; the server walks its package as calibration did."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest

from models.calibration.chunk_views import ChunkViews
from models.calibration.reading import skip_walks
from models.calibration.traverse import Stages, traverse
from models.data.texts import TextSet
from models.nets.reader import ReaderShape
from models.recipes import imdb_jump, imdb_skip, imdb_stop
from models.recipes.reading import Corpus, ReaderRecipe
from models.training import ways
from service.core import Budget
from service.engine import Engine, Sample
from service.media.text import TextSource
from service.package.load import load
from service.routing.base import build
from service.settings import Settings

GOOD, BAD = ("lovely", "superb", "moving", "great"), ("dull", "awful", "boring", "poor")
PLAIN = ("the", "film", "actor", "scene", "was", "and", "a", "plot", "of", "camera")


def reviews(count: int, seed: int) -> TextSet:
    """Texts of 20 to 200 words, one in eight of which tells the class; some tell the other."""
    random = np.random.default_rng(seed)
    texts, labels = [], np.arange(count) % 2
    for label in labels.tolist():
        sides = (GOOD, BAD) if label else (BAD, GOOD)
        words = [
            str(random.choice(sides[random.random() < 0.25])) if random.random() < 0.15 else str(random.choice(PLAIN))
            for _ in range(random.integers(20, 200))
        ]
        texts.append(" ".join(words))
    return TextSet(tuple(texts), labels.astype(np.int64), ("bad", "good"))


CORPUS = Corpus(
    name="toy",
    load=lambda part: reviews(600 if part == "train" else 120, seed=len(part)),
    source="made up by a test",
    chars=100,
    laps=6,
    router=200,
    calibration=200,
    epochs=6,
    gate_price=0.02,
    shape=ReaderShape(
        tokens=30, vocabulary=80, classes=2, width=8, channels=16, part_channels=4, pairs=512, memory=16, part=4
    ),
)


WORK = "work"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three packages."""
    folder = tmp_path_factory.mktemp("zoo")
    work = folder / WORK
    for module in (imdb_stop, imdb_jump, imdb_skip):
        recipe: ReaderRecipe = module.RECIPE
        title = dataclasses.replace(recipe.title, laps=CORPUS.laps)
        toy = dataclasses.replace(recipe, corpus=CORPUS, title=title)
        toy.main(["--work", str(work), "--package", str(folder / title.name)])
    return folder


NAMES = ("imdb-stop", "imdb-jump", "imdb-skip")


@pytest.mark.parametrize("name", NAMES)
def test_the_package_is_whole_and_its_card_tells_the_curve(made: Path, name: str) -> None:
    found = load(made / name)
    assert found.record.prices[0] == -np.inf
    assert np.all(np.diff(found.record.macs.mean(axis=1)) <= 1e-6 * found.graph.full_macs)
    assert found.record.exits[-1].max() == 0
    card = (made / name / "README.md").read_text()
    for heading in ("By price", "Against baselines", "By length", "What was read", "A failing case"):
        assert f"## {heading}" in card
    assert {path.name for path in (made / name).glob("*.png")} == {"curve.png", "looks.png"}


def test_packages_of_one_reader_share_its_graph(made: Path) -> None:
    graphs = {(made / name / "read.onnx").read_bytes() for name in NAMES}
    assert len(graphs) == 1


def test_graphs_skip_and_skim_as_the_network_does(made: Path) -> None:
    work, prices = made / WORK, np.array([-np.inf, 0.0, 1.0, 2.0, 3.0])
    knobs, share = np.array([0.0, 0.05, 0.1, 0.3, 2.0], np.float32), 8.0
    whole = load(made / "imdb-skip")
    told = {"knob_prices": prices, "knobs": knobs, "skim_share": np.array([share], np.float32)}
    found = dataclasses.replace(whole, tables={**whole.tables, **told})
    data, net = CORPUS.chunks(work, "train", CORPUS.parts.calibration), CORPUS.reader(work)
    walked = traverse(Stages.of(found.manifest, found.path), build(found), ChunkViews(data), prices)
    macs, skims = [stage.macs_per_row for stage in found.manifest.stages], set()
    for place, knob in enumerate(knobs.tolist()):
        vectors = ways.told(net, data)
        walk = skip_walks(net, CORPUS.ways(work), vectors, CORPUS.laps, knob=knob, skim_share=share)
        assert (walk.read * macs[0] + walk.skimmed * macs[1]).tolist() == walked.macs[place].tolist()
        assert walk.logits.argmax(1).tolist() == walked.predictions[place].tolist()
        skims |= set(zip(walk.read.tolist(), walk.skimmed.tolist(), strict=True))
    assert len({read for read, _ in skims}) > 2
    assert len({skimmed for _, skimmed in skims}) > 1


@pytest.mark.parametrize("name", NAMES)
def test_the_server_walks_as_calibration_did(made: Path, name: str) -> None:
    found = load(made / name)
    engine = Engine(Settings(models=(made / name,), lanes=1, shadow_share=0.0))
    engine.load()
    engine.start()
    texts, rows = CORPUS.texts("train").texts, CORPUS.parts.calibration[:30]
    model = engine.model(name)
    try:
        for budget in (Budget(agreement=1), Budget()):
            opened = [
                Sample(lambda row=row: TextSource(texts[row], found.path), budget, time.monotonic())
                for row in rows.tolist()
            ]
            answers = asyncio.run(engine.predict(model, opened))
            place = int(np.flatnonzero(found.record.prices == answers[0].price)[0])
            told = [answer.ledger.macs for answer in answers]
            assert told == found.record.macs[place][:30].tolist()
            labels = [int(answer.standing.output.argmax()) for answer in answers]
            assert labels == found.record.predictions[place][:30].tolist()
    finally:
        engine.stop()
