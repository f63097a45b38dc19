"""Entries of a token-dropping encoder's stages in its manifest, and what its texts look like to the first of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.data.vocabulary import token_ids
from models.nets.bag import hashed
from models.package import stage_entry

TOKENIZER = "tokenizer.json"
KINDS = ("project", "attend", "transform", "exit")
RAGGED = ("project", "transform")
ANSWERING = ("bag", "exit")


@dataclass(frozen=True)
class Reading:
    """How texts are read.

    Attributes:
        ngrams: ids that the bag reads; about half as many words.
        buckets: of its hash.
        tokens: the longest text that the encoder reads, with its opening and closing token.
        chars: characters of which tokens are made at most, more than so many tokens have.
    """

    ngrams: int = 96
    buckets: int = 2**15
    tokens: int = 64
    chars: int = 1_000

    @property
    def glimpses(self) -> dict[str, dict[str, Any]]:
        """By graph input, as a manifest has them."""
        return {
            "ngrams": {"glimpse": "ngrams", "count": self.ngrams, "buckets": self.buckets},
            "tokens": {
                "glimpse": "tokens",
                "count": self.tokens - 2,
                "chars": self.chars,
                "file": TOKENIZER,
                "at": [0],
            },
        }

    def seen(self, texts: Sequence[str], tokenizer: Tokenizer) -> dict[str, NDArray[np.int32]]:
        """The glimpses of texts shorter than `chars`, by graph input."""
        return {
            "ngrams": hashed(texts, self.ngrams, self.buckets),
            "tokens": token_ids(tokenizer, [text[: self.chars] for text in texts], self.tokens - 2),
        }


def names(layers: int) -> list[str]:
    """The stages in walking order."""
    return ["bag", "embed", *(f"{kind}{layer}" for layer in range(1, layers + 1) for kind in KINDS)]


def entries(folder: Path, layers: int, reading: Reading) -> list[dict[str, Any]]:
    """Manifest entries of the graphs in `folder`."""
    order = names(layers)
    return [_entry(folder / f"{name}.onnx", order[place + 1 : place + 2], reading) for place, name in enumerate(order)]


def zeros(layers: int) -> tuple[str, ...]:
    """States that are 0 at first: at each layer nobody is kept until a stage says so."""
    return tuple(f"kept{layer}" for layer in range(1, layers + 1))


def _entry(file: Path, after: list[str], reading: Reading) -> dict[str, Any]:
    name = file.stem
    ragged = name.startswith(RAGGED)
    kind = "rows" if ragged else "state"
    return stage_entry(
        file,
        after,
        reading.glimpses,
        # Named for what stands before it: the n-grams, or so many layers.
        exit_name=name.replace("exit", "layer") if name.startswith(ANSWERING) else None,
        roles=_roles(file, kind),
        ragged=reading.tokens if ragged else None,
    )


def _roles(file: Path, kind: str) -> dict[str, Any]:
    """Inputs and outputs are states, or rows of them, of their name; `x_next` is the new state x."""
    graph = onnx.load(file).graph
    names = [port.name for port in (*graph.input, *graph.output) if port.name != "logits"]
    found = {name: name.removesuffix("_next") for name in names}
    return {name: kind if state == name else {kind: state} for name, state in found.items()}
