"""Two packages that look again, made on disk in a moment, with routers of their own.

Both read a `Board`: a picture of four quadrants, each of noise around one of three colours; the colour of most is the
answer. `reader` walks a loop: a quadrant a lap, wherever its router points, its sum a state that is 0 at first.
`tiler` looks at the whole, small, and then runs a ragged stage over the quadrants that its router picks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
from numpy.typing import NDArray

from models.calibration.traverse import Stages, traverse
from models.calibration.views import SourceViews
from models.package import Title, draft, stage_entry, write
from service.package.glimpses import CropGlimpse, Glimpse
from service.package.load import Package
from service.routing.base import LEAVE, Routing, build, register
from service.routing.early_exit import softmax

LABELS = ("red", "green", "blue")
QUADRANTS = np.array([[top, left, top + 0.5, left + 0.5] for top in (0.0, 0.5) for left in (0.0, 0.5)], np.float32)
"""Top, left, bottom, right of each, as shares."""
PRICES = np.array([-np.inf, 0.0, 2e4, 2e5, np.inf])
LAPS = 4
_SIDE = 8


@dataclass(frozen=True)
class Board:
    """A source: uint8 [8, 8, 3]. Crops are of whole pixels, taken as they are."""

    pixels: NDArray[np.uint8]
    area: int = _SIDE * _SIDE

    def look(self, glimpse: Glimpse, at: NDArray[np.float32] | None) -> NDArray[Any]:
        """A crop, or every second pixel of the whole."""
        if not isinstance(glimpse, CropGlimpse):
            return self.pixels[None, ::2, ::2]
        assert at is not None
        boxes = (at * _SIDE).astype(int)
        return np.stack([self.pixels[top:bottom, left:right] for top, left, bottom, right in boxes])

    def tells(self, glimpse: Glimpse, at: NDArray[np.float32] | None) -> list[dict[str, Any]]:
        """The box."""
        return [{"box": box} for box in ([[0, 0, 1, 1]] if at is None else at.tolist())]

    def picture(self, seen: Sequence[Mapping[str, Any]]) -> bytes | None:
        """How much was seen: no real picture."""
        return b"PNG of %d" % len(seen)


def boards(count: int, seed: int) -> tuple[list[Board], NDArray[np.int16]]:
    """Boards and their labels int16 [count]."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(LABELS), size=count)
    made = []
    for label in labels:
        colours = np.where(rng.random(4) < 0.7, label, rng.integers(len(LABELS), size=4))
        blocks = np.eye(3)[colours].reshape(2, 2, 3).repeat(_SIDE // 2, axis=0).repeat(_SIDE // 2, axis=1)
        noisy = 0.3 + 0.3 * blocks + rng.normal(0.0, 0.3, blocks.shape)
        made.append(Board(np.round(noisy.clip(0, 1) * 255).astype(np.uint8)))
    return made, labels.astype(np.int16)


@register("test-reader")
class ReaderRouter:
    """Reads the quadrants in an order that the first of them decides; leaves when sure enough for the price."""

    def __init__(self, package: Package) -> None:
        self._last = len(package.graph.names) - 1
        self._macs = np.array(package.graph.macs)

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`. Red boards have a last quadrant that isn't worth a look: their full walk is shorter."""
        answer = softmax(outputs["logits"])
        score = answer.max(axis=1)
        short = answer.argmax(axis=1) == 0
        ends = stage == self._last or (stage == self._last - 1 and short)
        worth = np.where(ends, -np.inf, (1 - score) / (self._macs[0] / 1e9))
        going_on = (worth > prices) & ~np.broadcast_to(ends, score.shape)
        after = np.where(going_on, stage + 1, LEAVE).astype(np.int16)
        order = np.where(outputs["seen_next"][:, 0] > 0.5, (stage + 1) % 4, (4 - stage - 1) % 4)
        look = [QUADRANTS[place : place + 1] if on else None for place, on in zip(order, going_on, strict=True)]
        laps = np.where(short & (stage == self._last - 1), self._last, self._last + 1)
        return Routing(after, answer, score, worth, {"order": order}, look, full=laps * self._macs[0])


@register("test-tiler")
class TilerRouter:
    """Picks the quadrants that are undecided for the price, most undecided first; all of them at the full price."""

    def __init__(self, package: Package) -> None:
        self._join = package.graph.names.index("join")

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`."""
        if stage == self._join:
            answer = softmax(outputs["logits"])
            rows = len(answer)
            return Routing(np.full(rows, LEAVE, np.int16), answer, answer.max(axis=1), np.full(rows, -np.inf))
        doubt = 1 - (outputs["tiles"].max(axis=2) - np.median(outputs["tiles"], axis=2))
        wanted = doubt * 1e6 - 7.8e5 > prices[:, None]
        picks: list[NDArray[np.int64] | None] = []
        for row, chosen in zip(doubt, wanted, strict=True):
            places = np.argsort(-row, kind="stable")
            kept = places[chosen[places]]
            picks.append(kept if len(kept) else None)
        after = np.array([1 if kept is not None else self._join for kept in picks], np.int16)
        look = [None if kept is None else QUADRANTS[kept] for kept in picks]
        return Routing(after, signals={"doubt": doubt}, look=look, picks=picks)


_READ = """<ir_version: 9, opset_import: ["" : 18]>
read (uint8[n,4,4,3] view, float[n,3] seen) => (float[n,3] seen_next, float[n,3] logits)
<int64[2] axes = {1, 2}, float scale = {255.0}, float sharp = {6.0}> {
  pixels = Cast <to: int = 1> (view)
  shares = Div (pixels, scale)
  mean = ReduceMean <keepdims: int = 0> (shares, axes)
  seen_next = Add (mean, seen)
  logits = Mul (seen_next, sharp)
}"""
_COARSE = """<ir_version: 9, opset_import: ["" : 18]>
coarse (uint8[n,4,4,3] image) => (float[n,4,3] tiles)
<int64[6] cut = {-1, 2, 2, 2, 2, 3}, int64[2] axes = {2, 4}, int64[3] flat = {-1, 4, 3}, float scale = {255.0}> {
  pixels = Cast <to: int = 1> (image)
  shares = Div (pixels, scale)
  blocks = Reshape (shares, cut)
  means = ReduceMean <keepdims: int = 0> (blocks, axes)
  tiles = Reshape (means, flat)
}"""
_FINE = """<ir_version: 9, opset_import: ["" : 18]>
fine (uint8[n,4,4,3] view, float[n,3] tile, float[n,4,3] tiles) => (float[n,3] better, float[n,1] mask)
<int64[2] axes = {1, 2}, int64[1] one = {1}, float scale = {255.0}, float small = {0.01}, float zero = {0.0}> {
  pixels = Cast <to: int = 1> (view)
  shares = Div (pixels, scale)
  mean = ReduceMean <keepdims: int = 0> (shares, axes)
  around = ReduceMean <keepdims: int = 0> (tiles, one)
  hint = Mul (around, small)
  both = Add (mean, hint)
  nothing = Mul (tile, zero)
  better = Add (both, nothing)
  sums = ReduceSum <keepdims: int = 1> (nothing, one)
  mask = Exp (sums)
}"""
_JOIN = """<ir_version: 9, opset_import: ["" : 18]>
join (float[n,4,3] tiles, float[n,4,3] better, float[n,4,1] mask) => (float[n,3] logits)
<float one = {1.0}, int64[1] axes = {1}, float sharp = {6.0}> {
  rest = Sub (one, mask)
  old = Mul (tiles, rest)
  new = Mul (better, mask)
  both = Add (old, new)
  sum = ReduceSum <keepdims: int = 0> (both, axes)
  logits = Mul (sum, sharp)
}"""


def _graph(folder: Path, name: str, text: str) -> Path:
    file = folder / f"{name}.onnx"
    model = onnx.parser.parse_model(text)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)
    return file


def write_reader(folder: Path) -> Package:
    """The package that loops, in `folder`/reader."""
    path = folder / "reader"
    path.mkdir()
    file = _graph(path, "read", _READ)
    view = {"glimpse": "crop", "height": 4, "width": 4, "at": QUADRANTS[0].tolist()}
    roles = {"seen_next": {"state": "seen"}}
    stage = stage_entry(file, ["read"], {"view": view}, exit_name="read", roles=roles) | {"macs_per_row": 1_000}
    title = _title("reader", "test-reader", laps=LAPS, zeros=("seen",))
    return _finished(path, title, [stage])


def write_tiler(folder: Path) -> Package:
    """The package with a ragged stage, in `folder`/tiler."""
    path = folder / "tiler"
    path.mkdir()
    coarse = _graph(path, "coarse", _COARSE)
    fine, join = _graph(path, "fine", _FINE), _graph(path, "join", _JOIN)
    image = {"glimpse": "image", "height": 4, "width": 4}
    crop = {"glimpse": "crop", "height": 4, "width": 4}
    rows = {"tile": {"rows": "tiles"}, "better": "rows", "mask": "rows"}
    stages = [
        stage_entry(coarse, ["fine", "join"], {"image": image}, exit_name=None) | {"macs_per_row": 100},
        stage_entry(fine, ["join"], {"view": crop}, exit_name=None, roles=rows, ragged=4) | {"macs_per_row": 1_000},
        stage_entry(join, [], {}, exit_name="joined") | {"macs_per_row": 10},
    ]
    return _finished(path, _title("tiler", "test-tiler", zeros=("better", "mask")), stages)


def _title(name: str, router: str, **further: Any) -> Title:
    return Title(
        name, "1.0.0", "image", "classification", router, router, "Which colour most quadrants have.", **further
    )


def _finished(path: Path, title: Title, stages: Sequence[Mapping[str, Any]]) -> Package:
    """With a record of its own router's walks."""
    known = draft(path, title, stages, LABELS, {})
    sources, labels = boards(200, seed=1)
    walks = traverse(Stages.of(known.manifest, path), build(known), SourceViews(sources), PRICES)
    (path / "README.md").write_text(f"# {title.name}\n\nMade by tests/looking.py.\n")
    return write(path, title, stages, LABELS, walks.record(PRICES, labels), {})
