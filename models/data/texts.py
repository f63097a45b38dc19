"""Texts with labels: sentences of SST-2, IMDB reviews and 20 Newsgroups posts, as the server will get them."""

import json
import lzma
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.data import folder

Part = Literal["train", "devtest"]


@dataclass(frozen=True)
class TextSet:
    """Labelled texts: `texts` [n], `labels` int64 [n], `classes` the names by label."""

    texts: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def take(self, index: NDArray[np.integer]) -> "TextSet":
        """The rows of `index`, in its order."""
        return TextSet(tuple(self.texts[row] for row in index.tolist()), self.labels[index], self.classes)

    def __len__(self) -> int:
        return len(self.texts)


def sst2(part: Literal["train", "dev"]) -> TextSet:
    """Sentences about films (Socher et al., 2013): 6,920 to train, 872 to test."""
    return _films(f"sst2/{part}")


def imdb(part: Part) -> TextSet:
    """Long film reviews (Maas et al., 2011): 25,000 to train, 12,500 to test."""
    return _films(f"imdb/{part}")


def news20(part: Part) -> TextSet:
    """Posts to 20 newsgroups (Lang, 1995; split by date), their headers cut off: those name the group.

    Posts whose body is empty are left out.
    """
    classes = tuple(json.loads(folder.file("news20/classes.json", "a list of the classes' names").read_text()))
    rows = [row | {"text": body(row["text"])} for row in _rows(f"news20/{part}")]
    rows = [row for row in rows if row["text"].strip()]
    return _labelled(rows, classes)


def body(post: str) -> str:
    """A post without its headers, which end at the first empty line; control characters, which a server refuses, become
    spaces."""
    text = post.partition("\n\n")[2]
    return "".join(char if char.isprintable() or char in "\t\n\r\f" else " " for char in text)


def _films(name: str) -> TextSet:
    return _labelled(_rows(name), ("negative", "positive"))


def _rows(name: str) -> list[dict[str, Any]]:
    file = folder.file(f"{name}.jsonl.xz", "one JSON object a line, with `text` and `label`")
    with lzma.open(file, "rt", encoding="utf8") as lines:
        return [json.loads(line) for line in lines]


def _labelled(rows: list[dict[str, Any]], classes: tuple[str, ...]) -> TextSet:
    return TextSet(tuple(row["text"] for row in rows), np.array([row["label"] for row in rows], np.int64), classes)
