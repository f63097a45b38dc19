"""A WordPiece tokenizer cut down to what some texts need: an embedding of 30,000 vectors would be most of a package."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
"""Kept in this order, so padding is id 0 as the `tokens` glimpse has it."""


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's description (the content of its tokenizer.json), and which rows of the old embedding it keeps."""

    content: dict[str, Any]
    rows: tuple[int, ...]

    def tokenizer(self) -> Tokenizer:
        """The tokenizer; it neither cuts nor pads."""
        return Tokenizer.from_str(json.dumps(self.content))

    def write(self, file: Path) -> None:
        """As tokenizer.json."""
        file.write_text(json.dumps(self.content, ensure_ascii=False, separators=(",", ":")))


def pruned(file: Path, texts: Iterable[Sequence[str]], least: Sequence[int]) -> Vocabulary:
    """Keep the pieces that occur often enough, and every single letter, so that any word is still spelled out.

    Args:
        file: the tokenizer.json to start from, WordPiece.
        texts: groups of texts.
        least: for each group, how often a piece has to occur in it to be kept.
    """
    content = json.loads(file.read_text())
    content |= {"truncation": None, "padding": None}
    whole = Tokenizer.from_str(json.dumps(content))
    old: dict[str, int] = content["model"]["vocab"]
    kept = {piece for piece in old if len(piece.removeprefix("##")) == 1 and piece.removeprefix("##").isascii()}
    for group, often in zip(texts, least, strict=True):
        counts = Counter(piece for found in whole.encode_batch(list(group)) for piece in found.tokens)
        kept.update(piece for piece, count in counts.items() if count >= often)
    order = [*SPECIAL, *sorted(kept - set(SPECIAL) - {"[MASK]"}, key=old.__getitem__)]
    content["model"]["vocab"] = {piece: place for place, piece in enumerate(order)}
    content["added_tokens"] = [
        token | {"id": order.index(token["content"])}
        for token in content["added_tokens"]
        if token["content"] in SPECIAL
    ]
    for piece, entry in content["post_processor"]["special_tokens"].items():
        entry["ids"] = [order.index(piece)]
    return Vocabulary(content, tuple(old[piece] for piece in order))


def token_ids(tokenizer: Tokenizer, texts: Sequence[str], count: int) -> NDArray[np.int32]:
    """The first `count` ids of each text as the `tokens` glimpse has them, int32 [n, count]; 0 pads."""
    ids = np.zeros((len(texts), count), np.int32)
    for row, found in enumerate(tokenizer.encode_batch(list(texts), add_special_tokens=False)):
        some = found.ids[:count]
        ids[row, : len(some)] = some
    return ids
