"""Labelled texts of the data folder (`OFFRAMP_DATA`): SST-2, IMDB, AG News, and sentences cut from IMDB reviews."""

import json
import lzma
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.data import folder

Name = Literal["sst2", "imdb", "agnews"]
CLASSES: dict[Name, tuple[str, ...]] = {
    "sst2": ("negative", "positive"),
    "imdb": ("negative", "positive"),
    "agnews": ("World", "Sports", "Business", "Sci/Tech"),
}
_CLITIC = re.compile(r"(n't|'(?:s|re|ve|ll|d|m))\b")
_MARK = re.compile(r"([,?!])")
_STRIPPED = re.compile(r"[^\w\s,'`?!]")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True)
class TextSet:
    """Texts with `labels` int64 [n] and the names of the `classes` by label."""

    texts: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def take(self, index: NDArray[np.integer]) -> "TextSet":
        """The rows of `index`, in its order."""
        return TextSet(tuple(self.texts[row] for row in index.tolist()), self.labels[index], self.classes)

    def __add__(self, other: "TextSet") -> "TextSet":
        return TextSet(self.texts + other.texts, np.concatenate([self.labels, other.labels]), self.classes)

    def __len__(self) -> int:
        return len(self.labels)


def load(name: Name, part: str) -> TextSet:
    """One part of a set, as its file has it; of AG News' two fields, title and body joined.

    Raises:
        DataMissing: the file isn't there.
    """
    file = folder.file(f"{name}/{part}.jsonl.xz", "one JSON object a line, with `text` and `label`")
    with lzma.open(file, "rt", encoding="utf8") as lines:
        rows = [json.loads(line) for line in lines]
    texts = tuple(" ".join(row[field] for field in ("title", "text") if row.get(field)) for row in rows)
    return TextSet(texts, np.array([row["label"] for row in rows], np.int64), CLASSES[name])


def without(data: TextSet, others: Sequence[str]) -> NDArray[np.int64]:
    """Rows of the texts that stand in no other set and, of those that stand twice, the first."""
    seen = set(others)
    kept = []
    for row, text in enumerate(data.texts):
        if text not in seen:
            kept.append(row)
            seen.add(text)
    return np.array(kept, np.int64)


def sentences(reviews: TextSet, shortest: int = 4, longest: int = 40) -> TextSet:
    """The sentences of `shortest` to `longest` words of each review, each with its review's label: a weak label."""
    found = [
        (sentence, label)
        for text, label in zip(reviews.texts, reviews.labels.tolist(), strict=True)
        for sentence in _SENTENCE_END.split(text)
        if shortest <= len(sentence.split()) <= longest
    ]
    texts, labels = zip(*found, strict=True)
    return TextSet(texts, np.array(labels, np.int64), reviews.classes)


def film_form(text: str) -> str:
    """A sentence as those of SST-2 stand in their file: lower-cased, clitics apart, most of the punctuation stripped.

    >>> film_form("It's a well-made film (of 2003), isn't it.")
    "it 's a well made film of 2003 , is n't it"
    """
    text = _CLITIC.sub(r" \1", _STRIPPED.sub(" ", text.lower()))
    return " ".join(_MARK.sub(r" \1 ", text).split())
