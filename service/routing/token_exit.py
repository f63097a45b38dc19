"""A text encoder that drops tokens as it goes and leaves at one of many exits.

Each layer is a stage that mixes all tokens of the text (attention) and ragged stages over the tokens that are kept.
After attention a token that received less than a threshold is dropped, and what costs most of a layer isn't run for it
or its successors (PoWER-BERT, Goyal et al., ICML 2020; LTP, Kim et al., KDD 2022). The threshold is the knob of the
walk's price. The package's `rule` says how exits decide:

- `confidence`: the gain map of exit k tells how much more often a later exit is right; a walk goes on while that is
  worth its price, at what the rest costs for as many tokens as this text has left.
- `patience`: a walk leaves once so many exits in a row have said the same (PABEE, Zhou et al., NeurIPS 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import PackageError
from service.package.graph import StageGraph
from service.package.load import Package
from service.package.manifest import FILE
from service.routing.base import LEAVE, Routing, misbuilt, misfit, register
from service.routing.early_exit import softmax
from service.routing.knobs import Knobs

Outputs = Mapping[str, NDArray[Any]]


@register("token-exit")
class TokenExit:
    """Exits on a chain of stages, some of them ragged over tokens.

    Ports: before a ragged stage a stage has `received*` [rows, N] (attention received, 1 is the average; below 0 where
    there is no token) or `kept*` or `still*` [rows, N, 1] (1 for each token to go on with). An exit that more tokens
    may follow has `still*`, or `words*` [rows, 1] from which their number is guessed. For patience, each exit has
    `streak*` [rows, 1].

    Tables: `temperature` float32 [K]; `knob_prices`, `knobs`: the threshold from each price on, 0 at full; `gain_edges`
    float32 [K-1, B+1] and `gain` float32 [K-1, K, B]; `tokens_of_words` float32 [2], slope and offset;
    `patience_prices`, `patience`: exits that must agree, more than there are at full, 1 at last.
    """

    def __init__(self, package: Package) -> None:
        graph, tables = package.graph, package.tables
        exits = len(graph.exits)
        if any(len(after) > 1 for after in graph.after):
            raise misbuilt(package, "router token-exit needs one way, without branches")
        self._answers = [package.manifest.stages[stage].answer for stage in graph.stage_of]
        self._next = [after[0] if after else LEAVE for after in graph.after]
        self._picked_next = [bool(after) and graph.rows[after[0]] > 1 for after in graph.after]
        self._costs = Costs(graph)
        self._exit_of = graph.exit_of
        _check(package, {"temperature": (exits,), "tokens_of_words": (2,)})
        self._temperature = tables["temperature"]
        self._tokens_of_words = tables["tokens_of_words"]
        self._knobs = Knobs.of(package)
        rules: dict[str, Callable[[Package], Callable[..., NDArray[np.float64]]]] = {
            "confidence": _Confidence,
            "patience": _Patience,
        }
        rule = package.manifest.router.parameters.get("rule", "confidence")
        if rule not in rules:
            raise PackageError(package.path / FILE, "router.parameters.rule", f"no rule {rule!r}", f"use {[*rules]}")
        self._worth = rules[rule](package)

    def route(self, stage: int, outputs: Outputs, prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`. The signals: how many tokens go on; after attention also which, 1 or 0 for each, the
        opening one first, and the threshold.
        """
        picks, signals = self._picks(stage, outputs, prices)
        after = np.full(len(prices), self._next[stage], np.int16)
        name, full = self._answers[stage], self._full(stage, outputs)
        if name is None:
            return Routing(after, signals=signals, picks=picks, full=full)
        answer = softmax(outputs[name] / self._temperature[self._exit_of[stage]])
        score = np.maximum.reduce(answer, axis=1)
        if self._next[stage] == LEAVE:
            return Routing(after, answer, score, np.full(len(prices), -np.inf))
        tokens = self._tokens(outputs)
        worth = self._worth(self._exit_of[stage], score, self._costs.ahead(self._exit_of[stage], tokens), outputs)
        leaves = worth <= prices
        after[leaves] = LEAVE
        if picks is not None:
            picks = [None if gone else some for gone, some in zip(leaves.tolist(), picks, strict=True)]
        return Routing(after, answer, score, worth, signals, picks=picks, full=full)

    def _tokens(self, outputs: Outputs) -> NDArray[np.float64]:
        """How many tokens the walk would go on with, float64 [rows]; before they are made, a guess from the words."""
        still = port(outputs, "still")
        if still is not None:
            return np.asarray(still.reshape(len(still), -1).sum(axis=1, dtype=np.float64))
        words = port(outputs, "words")
        slope, offset = self._tokens_of_words.tolist()
        return np.asarray(np.minimum(words[:, 0] * slope + offset, self._costs.most)) if words is not None else _none()

    def _full(self, stage: int, outputs: Outputs) -> NDArray[np.int64] | None:
        """MACs of the full walk of these texts: guessed while only words are known, then from the tokens made."""
        made = port(outputs, "kept")
        if made is not None and made.ndim == 3:
            return self._costs.full(made.reshape(len(made), -1).sum(axis=1, dtype=np.float64))
        return self._costs.full(self._tokens(outputs)) if port(outputs, "words") is not None else None

    def _picks(
        self, stage: int, outputs: Outputs, prices: NDArray[np.float64]
    ) -> tuple[list[NDArray[np.int64] | None] | None, dict[str, NDArray[Any]] | None]:
        """The tokens with which each row goes on, those that matter most first."""
        if not self._picked_next[stage]:
            return None, None
        received, thresholds = port(outputs, "received"), self._knobs.at(prices)
        if received is not None:
            picks = [kept(row, least) for row, least in zip(received, thresholds.tolist(), strict=True)]
        else:
            masks = port(outputs, "still")
            masks = port(outputs, "kept") if masks is None else masks
            picks = [np.flatnonzero(mask.reshape(-1) > 0) for mask in (_none() if masks is None else masks)]
        signals = {"tokens": np.array([len(some) for some in picks], np.float32)}
        if received is not None:
            signals |= {"kept": (received >= thresholds[:, None]).astype(np.float32), "threshold": thresholds}
            signals["kept"][:, 0] = 1
        return list(picks), signals


class Costs:
    """What walks cost, by the number of their tokens: a fixed part and one for each token, from exit to exit."""

    def __init__(self, graph: StageGraph) -> None:
        ragged = np.array(graph.rows) > 1
        macs = np.array(graph.macs, np.float64)
        ends = np.flatnonzero(np.array(graph.exit_of) >= 0)
        self.most = max(graph.rows)
        """Tokens that a text has at most."""
        self._fixed = np.cumsum(np.where(ragged, 0.0, macs))[ends]
        self._each = np.cumsum(np.where(ragged, macs, 0.0))[ends]

    def ahead(self, here: int, tokens: NDArray[np.float64]) -> NDArray[np.float64]:
        """GMACs from an exit to each later one, float64 [later, rows]."""
        fixed, each = self._fixed[here + 1 :] - self._fixed[here], self._each[here + 1 :] - self._each[here]
        return np.asarray((fixed[:, None] + each[:, None] * tokens) / 1e9)

    def full(self, tokens: NDArray[np.float64]) -> NDArray[np.int64]:
        """MACs of the walk to the last exit with all of these tokens, int64 [rows]."""
        return np.asarray(np.rint(self._fixed[-1] + self._each[-1] * np.rint(tokens)).astype(np.int64))


class _Confidence:
    """Worth by gain maps, as for `early-exit`, but at this text's own costs."""

    def __init__(self, package: Package) -> None:
        exits, gain = len(package.graph.exits), package.tables.get("gain")
        bins = gain.shape[-1] if gain is not None and gain.ndim else 0
        _check(package, {"gain": (exits - 1, exits, bins), "gain_edges": (exits - 1, bins + 1)})
        edges, self._gain = package.tables["gain_edges"], package.tables["gain"]
        if not (bins and np.isfinite(self._gain).all() and np.all(edges[:, 1:] >= edges[:, :-1])):
            raise misfit(package, "gain", "needs finite values in bins that don't fall")
        self._edges = edges[:, 1:-1]

    def __call__(
        self, here: int, score: NDArray[np.float32], ahead: NDArray[np.float64], outputs: Outputs
    ) -> NDArray[np.float64]:
        return worth(self._gain[here], self._edges[here], here, score, ahead)


class _Patience:
    """Worth by how many exits in a row have agreed: the price from which on that many are enough."""

    def __init__(self, package: Package) -> None:
        tables, exits = package.tables, len(package.graph.exits)
        prices, patience = tables.get("patience_prices"), tables.get("patience")
        if prices is None or patience is None or prices.shape != patience.shape or not len(prices):
            raise misfit(package, "patience", "patience_prices or patience is missing, or they differ in length")
        if not (np.all(np.diff(prices) > 0) and np.all(np.diff(patience) < 0)):
            raise misfit(package, "patience", "must fall where patience_prices rise")
        if patience[0] <= exits or patience[-1] != 1:
            raise misfit(package, "patience", f"must begin above the number of exits, {exits}, and end at 1")
        self._prices, self._falling = prices.astype(np.float64), -patience.astype(np.float64)

    def __call__(
        self, here: int, score: NDArray[np.float32], ahead: NDArray[np.float64], outputs: Outputs
    ) -> NDArray[np.float64]:
        streak = port(outputs, "streak")
        agreed = np.ones(len(score)) if streak is None else streak[:, 0]
        return np.asarray(self._prices[self._falling.searchsorted(-agreed, side="left")])


def worth(
    gain: NDArray[np.float32],
    edges: NDArray[np.float32],
    here: int,
    score: NDArray[np.float32],
    ahead: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Best expected gain per GMAC of going on from exit `here`, float64 [rows], never below 0.

    Args:
        gain: of this exit, float32 [K, B].
        edges: the inner ones of its score bins, float32 [B-1].
        here: number of the exit.
        score: float32 [rows].
        ahead: GMACs to each later exit, float64 [K - 1 - here, rows].
    """
    gained = gain[here + 1 :, edges.searchsorted(score, side="right")]
    return np.asarray(np.maximum(gained / ahead, 0.0).max(axis=0))


def kept(received: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
    """Tokens of one text that received enough attention, most first; the first token, which exits read, always."""
    some = np.flatnonzero(received >= max(threshold, 0.0))
    some = some[some > 0]
    return np.concatenate([[0], some[np.argsort(-received[some], kind="stable")]]).astype(np.int64)


def port(outputs: Outputs, prefix: str) -> NDArray[Any] | None:
    """The output whose name starts so, if there is one. The others, which may be large, aren't touched."""
    name = next((name for name in outputs if name.startswith(prefix)), None)
    return None if name is None else outputs[name]


def _none() -> NDArray[np.float64]:
    return np.zeros((0, 0))


def _check(package: Package, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        found = package.tables[name].shape if name in package.tables else None
        if found != shape:
            raise misfit(package, name, f"shape {found}, expected {shape}")
