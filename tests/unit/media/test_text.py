from dataclasses import dataclass

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from service.errors import Malformed, TooLarge, UnsupportedMedia
from service.media import text as module
from service.media.ngrams import hashed_ngrams
from service.media.source import Limits, open_source
from service.media.text import TextLimits, TextSource

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
LONG = " ".join(f"word{place % 7}" for place in range(2000))


@dataclass(frozen=True)
class Glimpse:
    glimpse: str
    chars: int = 100
    count: int = 8
    file: str = "tokenizer.json"
    at: tuple[float, ...] | None = None


@pytest.fixture
def folder(tmp_path):
    words = {"[PAD]": 0, "[UNK]": 1} | {f"word{place}": 2 + place for place in range(7)}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a film", "a film"),
        ("größer, 很好 \N{PILE OF POO}".encode(), "größer, 很好 \N{PILE OF POO}"),
        ("\N{BYTE ORDER MARK}film".encode(), "film"),
        (b"two\r\nlines\tand \x1b[1mcolour", "two\r\nlines\tand \x1b[1mcolour"),
        (b"BMW is a car", "BMW is a car"),
        (b"GIF89a is how some pictures begin", "GIF89a is how some pictures begin"),
        (b"." * 10_000, "." * 10_000),
    ],
)
@pytest.mark.parametrize("content_type", [None, "text/plain", "Text/Plain; charset=UTF-8", "application/octet-stream"])
def test_text_is_read_as_it_is(data, text, content_type):
    assert TextSource.open(data, content_type=content_type).text == text


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the text is empty"),
        ("\N{BYTE ORDER MARK}".encode(), "the text is empty"),
        (b" \n\t ", "white space alone"),
        (b"caf\xe9 au lait", "isn't UTF-8: byte 3 begins e9 20 61 75"),
        (b"cut in two \xc3", "isn't UTF-8: byte 11 begins c3"),
        (b"\xed\xa0\x80 a lone surrogate", "isn't UTF-8: byte 0"),
        ("film".encode("utf-16"), "the mark of UTF-16; send UTF-8"),
        (b"text until\x00here", "control character U+0000 at character 10"),
        (bytes(range(1, 32)), "control character U+0001 at character 0"),
    ],
)
def test_what_is_no_text_is_refused_with_the_place(data, said):
    with pytest.raises(Malformed, match=said.replace("+", r"\+")):
        TextSource.open(data, content_type="text/plain")


@pytest.mark.parametrize(
    ("data", "content_type", "said"),
    [
        (PNG, None, "the bytes are image/png"),
        (PNG, "text/plain", "declared text/plain, but the bytes are image/png"),
        (b"a film", "image/png", "'image/png' isn't read here"),
        (b"<p>a film", "text/html", "'text/html' isn't read here"),
        (b"caf\xe9", "text/plain; charset=iso-8859-1", "charset 'iso-8859-1' isn't read here; send UTF-8"),
    ],
)
def test_other_types_are_refused_by_name(data, content_type, said):
    with pytest.raises(UnsupportedMedia, match=said):
        TextSource.open(data, content_type=content_type)


def test_a_text_above_the_limit_is_refused_with_both_numbers():
    with pytest.raises(TooLarge, match="has 11 bytes, the limit is 10"):
        TextSource.open(b"a film, yes", limits=TextLimits(max_bytes=10))
    assert TextSource.open(b"a film, no", limits=TextLimits(max_bytes=10)).text


def test_tokens_of_a_chunk_padded_and_cut(folder):
    source = TextSource.open(b"word0 word1 word2 other", folder=folder)
    (row,) = source.look(Glimpse("tokens"), None)
    assert row.dtype == np.int32
    assert row.tolist() == [2, 3, 4, 1, 0, 0, 0, 0]
    assert source.look(Glimpse("tokens", count=2), None).tolist() == [[2, 3]]


def test_each_row_of_at_is_a_chunk_and_one_that_is_not_there_is_padding(folder):
    source = TextSource.open(LONG.encode(), folder=folder)
    rows = source.look(Glimpse("tokens", count=20), np.array([[0], [3], [9999]], np.float32))
    words = source.passage(100, 3).split()
    assert rows.shape == (3, 20)
    assert rows[1, : len(words)].tolist() == [2 + int(word[-1]) for word in words]
    assert rows[2].max() == 0


def test_a_look_tokenises_its_chunk_and_nothing_else(folder, monkeypatch):
    asked = []

    class Counting:
        def encode(self, passage, **_):
            asked.append(len(passage))
            return type("Told", (), {"ids": [1]})

    monkeypatch.setattr(module, "tokenizer", lambda file: Counting())
    source = TextSource.open(LONG.encode() * 50, folder=folder)
    for chunk in range(3):
        source.look(Glimpse("tokens"), np.array([[chunk]], np.float32))
    assert len(asked) == 3
    assert sum(asked) < 3.3 * 100


def test_chunks_tells_how_many_there_are():
    source = TextSource.open(LONG.encode())
    assert source.look(Glimpse("chunks"), None).tolist() == [[len(LONG) // 100 + (len(LONG) % 100 > 25)]]


def test_chunk_tells_which_one_is_looked_at():
    source = TextSource.open(LONG.encode())
    assert source.look(Glimpse("chunk"), np.array([[3], [0]], np.float32)).tolist() == [[3], [0]]
    assert source.look(Glimpse("chunk", at=(2.0,)), None).tolist() == [[2]]


def test_chunks_below_0_count_from_the_end(folder):
    source = TextSource.open(LONG.encode(), folder=folder)
    last = np.array([[119], [118]], np.float32)
    for kind in ("chunk", "tokens"):
        turned = source.look(Glimpse(kind), np.array([[-1], [-2]], np.float32))
        np.testing.assert_array_equal(turned, source.look(Glimpse(kind), last))
        np.testing.assert_array_equal(source.look(Glimpse(kind, at=(-1.0,)), None), turned[:1])
    assert source.tells(Glimpse("tokens", at=(-1.0,)), None)[0]["chars"][1] == len(LONG)


def test_tells_the_characters_that_were_read():
    source = TextSource.open(LONG.encode())
    (first, second) = source.tells(Glimpse("tokens"), np.array([[0], [5]], np.float32))
    assert first["chars"][0] == 0
    assert LONG[slice(*second["chars"])] == source.passage(100, 5)
    assert source.tells(Glimpse("chunks"), None) == [{"chunks": 120}]
    assert source.tells(Glimpse("chunk"), np.array([[3]], np.float32)) == [{"chunk": 3}]
    assert source.picture([]) is None


def test_the_default_place_is_the_glimpses_own(folder):
    source = TextSource.open(LONG.encode(), folder=folder)
    assert source.tells(Glimpse("tokens", at=(4.0,)), None) == source.tells(
        Glimpse("tokens"), np.array([[4]], np.float32)
    )


def test_open_source_opens_text_for_a_model_that_reads_it(folder):
    source = open_source("text", b"word0", "text/plain", Limits(), folder)
    assert isinstance(source, TextSource)


@dataclass(frozen=True)
class Ngrams:
    count: int = 9
    buckets: int = 1000
    chars: int | None = None
    at: tuple[float, ...] | None = None
    glimpse: str = "ngrams"


def test_ngrams_are_of_the_whole_text_or_of_one_chunk():
    source = TextSource(LONG)
    whole = source.look(Ngrams(), None)
    assert (whole == hashed_ngrams(LONG, 9, 1000)).all()
    assert source.tells(Ngrams(), None) == [{"chars": [0, len(LONG)]}]
    chunks = source.look(Ngrams(chars=100), np.array([[0], [2]], np.float32))
    assert chunks.shape == (2, 9)
    assert (chunks[1] == hashed_ngrams(source.passage(100, 2), 9, 1000)).all()


def test_tells_which_characters_each_token_is_of(folder):
    source = TextSource(LONG, folder)
    (told,) = source.tells(Glimpse("tokens"), np.array([[5]], np.float32))
    start, end = told["chars"]
    assert [LONG[slice(*piece)] for piece in told["tokens"]] == LONG[start:end].split()[:8]
