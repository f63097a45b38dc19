"""A tokenizer cut down: what is kept, in which order, and that any word can still be spelled."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from models.data.vocabulary import SPECIAL, pruned, token_ids

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    pieces = ["[PAD]", "unused", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{c}" for c in LETTERS)]
    pieces += ["film", "good", "##ness", "rare", "é"]
    made = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ids = {name: made.token_to_id(name) for name in ("[CLS]", "[SEP]")}
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[*ids.items()])
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    made.enable_truncation(4)
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    return path


def test_pieces_that_occur_often_enough_are_kept_and_every_letter(file: Path) -> None:
    found = pruned(file, [["good film", "film"], ["goodness goodness", "rare"]], [2, 2])
    words = found.tokenizer()
    assert [words.id_to_token(place) for place in range(4)] == list(SPECIAL)
    assert words.encode("Goodness rare film zx", add_special_tokens=False).tokens == [
        *("good", "##ness", "r", "##a", "##r", "##e", "film", "z", "##x")
    ]
    assert words.token_to_id("unused") is None
    assert words.token_to_id("[MASK]") is None
    assert len(found.rows) == words.get_vocab_size() == len(SPECIAL) + 2 * 26 + 3


def test_rows_are_those_of_the_old_vocabulary(file: Path) -> None:
    old = Tokenizer.from_file(str(file))
    found = pruned(file, [["good film"]], [1])
    words = found.tokenizer()
    assert all(old.id_to_token(row) == words.id_to_token(place) for place, row in enumerate(found.rows))


def test_the_written_tokenizer_neither_cuts_nor_pads(file: Path, tmp_path: Path) -> None:
    pruned(file, [["good film"]], [1]).write(tmp_path / "cut.json")
    words = Tokenizer.from_file(str(tmp_path / "cut.json"))
    assert len(words.encode("good film good film good").ids) == 7
    ids = token_ids(words, ["good film good", "", "film"], 2)
    assert ids.shape == (3, 2)
    assert ids[1].tolist() == [0, 0]
    assert ids[2].tolist() == [words.token_to_id("film"), 0]
