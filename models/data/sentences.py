"""Sentences cut from reviews, and written as those of SST-2 are."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.data.texts import TextSet

_CLITIC = re.compile(r"(n't|'(?:s|re|ve|ll|d|m))\b")
_MARK = re.compile(r"([,?!])")
_STRIPPED = re.compile(r"[^\w\s,'`?!]")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


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
