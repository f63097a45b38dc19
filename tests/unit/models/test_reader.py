import numpy as np
import pytest
import torch

from models.data.chunked import Chunked, chunked, train_tokenizer
from models.export import TOLERANCE, run, session, write_stage
from models.half import round_weights, store_half
from models.nets.reader import Reader, ReaderShape, pair
from models.nets.reader_stages import Look, Ways, marked
from models.training.reading import (
    READ,
    SKIM,
    SKIP,
    ReaderTrainer,
    ReadingPlan,
    answers,
    both_ends,
    full_walks,
    informed,
    sample_walks,
)
from models.training.skips import fit_gate
from models.training.ways import fit_jumps, told, tried_jumps
from service.routing.reading import JUMPS, MARKS

SHAPE = ReaderShape(
    tokens=12, vocabulary=40, classes=3, width=8, channels=16, part_channels=4, pairs=64, memory=16, part=4
)


@pytest.fixture
def net():
    torch.manual_seed(1)
    return Reader(SHAPE).eval()


@pytest.fixture
def data():
    random = np.random.default_rng(2)
    chunks = random.integers(1, 6, 60)
    labels = random.integers(0, 3, 60)
    tokens = random.integers(10, 40, (int(chunks.sum()), 12)).astype(np.int32)
    tokens[:, 3] = 2 + np.repeat(labels, chunks)  # each chunk tells the class
    return Chunked(tokens, np.r_[0, np.cumsum(chunks)].astype(np.int64)), labels.astype(np.int64)


def test_padding_says_nothing(net):
    tokens = torch.zeros(1, 12, dtype=torch.int64)
    tokens[0, :3] = torch.tensor([4, 5, 6])
    wide = torch.cat([tokens, torch.zeros(1, 20, dtype=torch.int64)], dim=1)
    for look in (net.chunks, net.chunks.part):
        torch.testing.assert_close(look(tokens), look(wide))


def test_pairs_are_numbered_from_1_and_need_both_tokens():
    found = pair(torch.tensor([[3, 4, 0], [4, 3, 0]]), 64)
    assert found.tolist()[0][1:] == [0, 0]
    assert found[0, 0] != found[1, 0]
    assert 1 <= int(found.max()) < 64


def test_a_look_in_part_leaves_the_rest_of_the_memory(net):
    memory = torch.randn(2, SHAPE.state)
    made = net.memory.skim(memory, torch.randn(2, SHAPE.part))
    kept = slice(SHAPE.part, SHAPE.memory)
    assert torch.equal(made[:, kept], memory[:, kept])
    assert not torch.equal(made[:, : SHAPE.part], memory[:, : SHAPE.part])
    assert torch.equal(made[:, -1], memory[:, -1])


def test_what_was_read_is_marked():
    done = marked(marked(torch.zeros(2, MARKS), torch.tensor([[3.0], [0]])), torch.tensor([[1.0], [70]]))
    assert [torch.nonzero(row).flatten().tolist() for row in done] == [[1, 3], [0]]


@pytest.mark.parametrize("whole", [True, False])
def test_graphs_compute_what_the_network_does(net, tmp_path, whole):
    import onnx

    torch.manual_seed(3)
    ways = Ways(2 * SHAPE.memory)
    round_weights(net)
    look = Look(net, ways, whole=whole).eval()
    inputs = (
        torch.randint(0, 40, (2, 12), dtype=torch.int32),
        torch.tensor([[0.0], [4]]),
        torch.tensor([[5.0], [5]]),
        torch.randn(2, SHAPE.state).abs(),
        torch.zeros(2, MARKS),
    )
    with torch.no_grad():
        write_stage(look, inputs, tmp_path / "look.onnx")
        expected = look(*inputs)
    onnx.save(store_half(onnx.load(tmp_path / "look.onnx")), tmp_path / "look.onnx")
    made = run(session(tmp_path / "look.onnx"), {n: t.numpy() for n, t in zip(look.ports.inputs, inputs, strict=True)})
    for name, tensor in zip(look.ports.outputs, expected, strict=True):
        np.testing.assert_allclose(made[name], tensor.numpy(), atol=TOLERANCE)


def test_full_walks_read_both_ends_first_and_everything():
    assert both_ends(5, 24).tolist() == [0, 4, 1, 2, 3]
    assert both_ends(5, 3).tolist() == [0, 4, 1]
    assert both_ends(5, 24, "turned").tolist() == [4, 0, 1, 2, 3]
    assert both_ends(5, 24, "back").tolist() == [4, 0, 3, 2, 1]
    assert {tuple(both_ends(1, 24, order)) for order in ("ends", "turned", "back")} == {(0,)}


def test_sampled_walks_stay_within_the_text():
    chunks = np.array([1, 2, 7, 40])
    walks = sample_walks(chunks, 8, np.random.default_rng(0))
    looked = walks.how != SKIP
    assert looked[:, 0].all()
    assert set(np.unique(walks.how)) <= {SKIP, READ, SKIM}
    assert (walks.place[looked] < np.repeat(chunks, looked.sum(1))).all()
    for row in range(4):
        assert len(set(walks.place[row, looked[row]].tolist())) == looked[row].sum()


def test_a_reader_learns_what_counting_shows_and_resumes(data, tmp_path):
    texts, labels = data
    plan = ReadingPlan(epochs=12, laps=4, seed=5, batch=16, lr=1e-2)
    torch.manual_seed(4)
    net = Reader(SHAPE)
    informed(net, texts, labels)
    trainer = ReaderTrainer(net, texts, labels, plan, tmp_path)
    trained = trainer.run(lambda _: "")
    right = answers(trained, texts, full_walks(texts.chunks, 4))[:, -1].argmax(1) == labels
    assert right.mean() > 0.6
    again = ReaderTrainer(Reader(SHAPE), texts, labels, plan, tmp_path)
    assert again.epoch == 12


def test_jumps_and_gate_learn_from_tries(net, data):
    texts, labels = data
    seen = told(net, texts)
    steps = tried_jumps(net, seen, labels, laps=4, temperature=1.0, seed=1)
    assert steps.gain.shape[1] == len(JUMPS)
    possible = ~steps.gain.isnan()
    assert possible[:, 0].all()
    rest = steps.place[:, 1] - steps.place[:, 2]
    assert torch.equal(possible[:, 1], rest > 1)
    ways = Ways(2 * SHAPE.memory)
    assert np.isfinite(fit_jumps(ways, steps, seed=1, rounds=5, batch=32))
    free, dear = (
        fit_gate(net, Ways(2 * SHAPE.memory), seen, labels, laps=4, price=price, seed=1, rounds=30)
        for price in (0.0, 10.0)
    )
    assert 1 <= dear["read"] + dear["skimmed"] < free["read"] + free["skimmed"]


def test_texts_are_cut_and_tokenised_as_the_server_does(tmp_path):
    from service.media.text import TextSource

    texts = ("a good film about good people " * 9, "bad", "so-so, but good " * 4)
    words = train_tokenizer(texts, 60)
    words.save(str(tmp_path / "tokenizer.json"))
    made = chunked(words, texts, chars=50, tokens=16)

    class Asked:
        glimpse, chars, count, file, at = "tokens", 50, 16, "tokenizer.json", None

    rows = [
        TextSource(text, tmp_path).look(Asked, np.array([[chunk]], np.float32))[0]
        for text, size in zip(texts, made.chunks, strict=True)
        for chunk in range(size)
    ]
    np.testing.assert_array_equal(made.tokens, rows)
