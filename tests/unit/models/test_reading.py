import numpy as np
import pytest
import torch

from models.calibration.chunk_views import ChunkViews
from models.calibration.reading import (
    KNOBS,
    Answers,
    Skimmed,
    jump_walks,
    skip_tables,
    skip_walks,
    stop_tables,
)
from models.data.chunked import Chunked, chunked, train_tokenizer
from models.nets.reader import Reader, ReaderShape
from models.nets.reader_stages import Ways
from models.training.ways import told
from service.media.text import TextSource
from service.routing.base import build
from tests.unit.routing import readers

SHAPE = ReaderShape(
    tokens=12, vocabulary=40, classes=2, width=8, channels=16, part_channels=4, pairs=64, memory=16, part=4
)


def test_chunks_in_memory_are_those_of_the_source(tmp_path):
    texts = ("a good film about good people " * 9, "bad", "so-so, but good " * 8)
    words = train_tokenizer(texts, 60)
    words.save(str(tmp_path / "tokenizer.json"))
    stage = readers.package("reader-stop", readers.stop_tables()).manifest.stages[0]
    views = ChunkViews(chunked(words, texts, chars=50, tokens=8))
    samples = np.array([0, 1, 2, 0])
    at = [np.array([[3]], np.float32), None, np.array([[1]], np.float32), np.array([[99]], np.float32)]
    made = views.view(stage, samples, at)
    assert len(views) == 3
    for row, (sample, where) in enumerate(zip(samples, at, strict=True)):
        source = TextSource(texts[sample], tmp_path)
        for name, glimpse in stage.glimpses.items():
            seen = source.look(glimpse, glimpse.default if where is None else where)[0]
            np.testing.assert_array_equal(made[name][row], seen)
            assert made[name].dtype == seen.dtype


@pytest.fixture
def sure_later():
    """Answers of 4,000 texts of 1 to 8 chunks: each chunk adds evidence, so that reading on helps the unsure."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 4000)
    length = random.integers(1, 9, 4000)
    evidence = random.normal(0.5, 1.0, (4000, 8)).cumsum(1) * np.where(labels, 1, -1)[:, None]
    return Answers(np.stack([np.zeros((4000, 8)), evidence], 2).astype(np.float32), length), labels


def test_reading_on_is_worth_most_where_the_score_is_low(sure_later):
    tables = stop_tables(*sure_later, 1_000_000)
    worth = tables["stop_worth"]
    assert np.all(np.diff(worth, axis=1) <= 0)
    assert worth[0, 0] > 10 * worth[0, -1]
    build(readers.package("reader-stop", tables))  # the router takes them


def test_a_dearer_chunk_is_worth_less(sure_later):
    cheap, dear = (stop_tables(*sure_later, macs)["stop_worth"] for macs in (1_000_000, 2_000_000))
    np.testing.assert_allclose(cheap, 2 * dear)


@pytest.fixture
def read():
    torch.manual_seed(0)
    sizes = np.array([1, 2, 5, 9])
    tokens = np.random.default_rng(1).integers(2, 40, (int(sizes.sum()), 12)).astype(np.int32)
    net, ways = Reader(SHAPE).eval(), Ways(2 * SHAPE.memory).eval()
    return net, ways, told(net, Chunked(tokens, np.r_[0, np.cumsum(sizes)]))


def test_jump_walks_read_every_chunk_that_the_laps_allow(read):
    walks = jump_walks(*read, laps=6)
    assert walks.length.tolist() == [1, 2, 5, 6]
    assert walks.logits.shape == (4, 6, 2)


def test_skip_walks_read_all_at_knob_0_and_one_chunk_at_the_last(read):
    whole = skip_walks(*read, laps=24, knob=0.0, skim_share=0.5)
    assert whole.read.tolist() == [1, 2, 5, 9]
    assert not whole.skimmed.any()
    assert skip_walks(*read, laps=24, knob=KNOBS[-1], skim_share=0.5).read.tolist() == [1] * 4
    assert skip_walks(*read, laps=24, knob=2.0, skim_share=0.5).skimmed.sum() > 0


def test_skip_tables_begin_with_the_full_walk():
    labels = np.array([0, 1] * 50)
    walks = []
    for place, _ in enumerate(KNOBS):
        right = 100 - 2 * place
        logits = np.where(np.arange(100)[:, None] < right, np.eye(2)[labels], np.eye(2)[1 - labels])
        read = np.full(100, len(KNOBS) - place)
        walks.append(Skimmed((3 * logits).astype(np.float32), read, np.zeros(100, np.int64)))
    tables = skip_tables(walks, labels, (1_000_000, 200_000), 0.3)
    assert tables["knobs"][0] == 0
    assert tables["knobs"][-1] == np.float32(KNOBS[-1])
    build(readers.package("reader-skip", tables, skims=True))
