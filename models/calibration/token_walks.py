"""What every exit of a token-dropping encoder says when tokens are dropped by one threshold, for a whole split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.export import run, session
from service.routing.token_exit import kept

Arrays = dict[str, NDArray[Any]]
BATCH = 32


@dataclass(frozen=True)
class TokenAnswers:
    """n texts at K exits.

    Attributes:
        logits: float32 [K, n, classes].
        tokens: int32 [K, n], kept when the exit stands; at exit 0, before there are tokens, what the text has.
        macs: int64 [K, n], spent when the exit stands.
        streak: int32 [K, n], exits in a row that said the same.
    """

    logits: NDArray[np.float32]
    tokens: NDArray[np.int32]
    macs: NDArray[np.int64]
    streak: NDArray[np.int32]


class Chain:
    """The exported stages of models/nets/encoder_stages.py, run over whole batches without a server."""

    def __init__(self, folder: Path, layers: int, macs: Mapping[str, int]) -> None:
        """`macs` of one row of each stage, by name."""
        names = ["bag", "embed"]
        names += [
            f"{kind}{layer + 1}" for layer in range(layers) for kind in ("project", "attend", "transform", "exit")
        ]
        self.layers, self.macs = layers, macs
        self.sessions = {name: session(folder / f"{name}.onnx") for name in names}

    def answers(self, ngrams: NDArray[np.int32], tokens: NDArray[np.int32], threshold: float) -> TokenAnswers:
        """Walk all texts to the last exit; ngrams [n, count] and tokens [n, N - 2] are their glimpses."""
        order = np.argsort((tokens > 0).sum(axis=1), kind="stable")
        parts = [self._batch(ngrams[rows], tokens[rows], threshold) for rows in _cut(order)]
        back = np.argsort(order, kind="stable")
        return TokenAnswers(*(np.concatenate(found, axis=1)[:, back] for found in zip(*parts, strict=True)))

    def _batch(
        self, ngrams: NDArray[np.int32], tokens: NDArray[np.int32], threshold: float
    ) -> tuple[NDArray[Any], ...]:
        state = self._run("bag", {"ngrams": ngrams, "tokens": tokens})
        spent = np.full(len(tokens), self.macs["bag"], np.int64)
        told = [(state["logits"], spent, state["streak"])]
        state = self._run("embed", state)
        picked = state["kept0"][:, :, 0] > 0
        counts = [picked.sum(axis=1)]
        for layer in range(1, self.layers + 1):
            count = picked.sum(axis=1)
            state = self._ragged(f"project{layer}", state, picked)
            state = self._run(f"attend{layer}", state)
            picked = _mask(state["received"], threshold)
            state = self._ragged(f"transform{layer}", state, picked)
            state = self._run(f"exit{layer}", state)
            spent = spent + self.macs[f"project{layer}"] * count + self.macs[f"transform{layer}"] * picked.sum(axis=1)
            spent = spent + self.macs[f"attend{layer}"] + self.macs[f"exit{layer}"]
            told.append((state["logits"], spent, state["streak"]))
            counts.append(picked.sum(axis=1))
        logits, macs, streak = (np.stack(found) for found in zip(*told, strict=True))
        return logits, np.stack(counts).astype(np.int32), macs, streak[:, :, 0].astype(np.int32)

    def _run(self, name: str, state: Arrays) -> Arrays:
        return state | _renamed(run(self.sessions[name], state))

    def _ragged(self, name: str, state: Arrays, picked: NDArray[np.bool_]) -> Arrays:
        """Run over the picked tokens of all texts at once; the others keep what they had, or zeros."""
        ports = [found.name for found in self.sessions[name].get_inputs()]
        made = _renamed(run(self.sessions[name], {port: state[port][picked] for port in ports}))
        for port, rows in made.items():
            whole = state.get(port, np.zeros((*picked.shape, rows.shape[1]), np.float32)).copy()
            whole[picked] = rows
            state = state | {port: whole}
        return state


def _renamed(made: Arrays) -> Arrays:
    return {name.removesuffix("_next"): array for name, array in made.items()}


def _mask(received: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    mask = np.zeros(received.shape, bool)
    for row, of_text in enumerate(received):
        mask[row, kept(of_text, threshold)] = True
    return mask


def _cut(order: NDArray[np.int64]) -> Sequence[NDArray[np.int64]]:
    return np.array_split(order, max(1, -(-len(order) // BATCH)))
