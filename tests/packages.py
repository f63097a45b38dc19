"""A real package, made on disk in a moment: pictures in which one of three colours prevails, and three exits.

`glance` reads the mean colour of the first of eight pixel rows, `look` of the first three, `stare` of all eight. Pixels
are noisy and pictures differ in contrast, so each exit is sharper than the one before, and easy pictures leave early.
Nothing in the calibration file is made up: stages and router ran on pictures that `pictures` drew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from service.package.graph import StageGraph
from service.package.load import Package
from service.package.manifest import FILE, Manifest
from service.package.record import Record
from service.routing.base import LEAVE, Router, build
from service.routing.early_exit import softmax

SIDE = 8
LABELS = ("red", "green", "blue")
STAGES = ("glance", "look", "stare")
EXITS = ("early", "middle", "last")
ROWS_READ = (1, 3, 8)
"""Pixel rows that the exits have seen."""
MACS = (1_000_000, 2_000_000, 5_000_000)
"""MACs a row of each stage: told, not counted, so that sums are easy to check by hand."""
CALIBRATION = "calibration.npz"

_SHARPNESS = 12.0
_BINS = 6
_ROUTER_SAMPLES, _CALIBRATION_SAMPLES = 1_500, 3_000
_ROUTER_SEED, _CALIBRATION_SEED = 1, 2

Arrays = dict[str, NDArray[Any]]


def pictures(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """Pictures uint8 [count, 8, 8, 3] and the places of their colours in `LABELS`, int16 [count]."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(LABELS), size=count)
    contrast = rng.uniform(0.04, 0.6, size=count)
    colour = 0.4 + contrast[:, None] * np.eye(3)[labels]
    noisy = colour[:, None, None, :] + rng.normal(0.0, 0.25, (count, SIDE, SIDE, 3))
    return np.round(noisy.clip(0, 1) * 255).astype(np.uint8), labels.astype(np.int16)


def plain(label: str) -> NDArray[np.uint8]:
    """A picture uint8 [8, 8, 3] of nothing but that colour: right at every exit, and sure at the first."""
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[:, :, LABELS.index(label)] = 255
    return picture


def write_colours(
    folder: Path,
    *,
    name: str = "colours",
    labels: Sequence[str] = LABELS,
    graphs: Mapping[str, bytes] | None = None,
    arrays: Mapping[str, NDArray[Any] | None] | None = None,
    manifest: Callable[[dict[str, Any]], None] | None = None,
    altered: str | None = None,
    missing: str | None = None,
) -> Path:
    """Write the package into `folder / name`, which is returned; without changes it is valid.

    Args:
        folder: where packages lie.
        name: of the package and its folder.
        labels: what `labels.txt` lists.
        graphs: other bytes for a stage's graph, by stage name; hashed as given.
        arrays: other arrays of the calibration file, None to leave one out; hashed as given.
        manifest: changes the manifest's mapping in place before it is written.
        altered: a file that gets one byte more after everything was hashed.
        missing: a file that is removed again.
    """
    path = folder / name
    path.mkdir(parents=True)
    for stage, graph in (_graphs() | dict(graphs or {})).items():
        (path / f"{stage}.onnx").write_bytes(graph)
    (path / "labels.txt").write_text("\n".join(labels) + "\n")
    (path / "README.md").write_text("# colours\n\nMade by tests/packages.py.\n")
    changed = _calibration() | dict(arrays or {})
    kept = {key: array for key, array in changed.items() if array is not None}
    np.savez(path / CALIBRATION, allow_pickle=False, **kept)
    content = _manifest(name, {file.name: _digest(file.read_bytes()) for file in path.iterdir()})
    if manifest is not None:
        manifest(content)
    (path / FILE).write_text(yaml.safe_dump(content, sort_keys=False))
    if altered is not None:
        (path / altered).write_bytes((path / altered).read_bytes() + b"\n")
    if missing is not None:
        (path / missing).unlink()
    return path


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _manifest(name: str, digests: Mapping[str, str]) -> dict[str, Any]:
    return {
        "format": 1,
        "name": name,
        "version": "1.0.0",
        "modality": "image",
        "task": "classification",
        "family": "early-exit",
        "description": "Which of three colours prevails in a noisy picture.",
        "labels": "labels.txt",
        "stages": [_stage(place, digests) for place in range(len(STAGES))],
        "router": {"name": "early-exit"},
        "calibration": {"file": CALIBRATION, "sha256": digests[CALIBRATION]},
    }


def _stage(place: int, digests: Mapping[str, str]) -> dict[str, Any]:
    """A stage's entry in the manifest. Two states of different rank: all row means, and the colour seen so far."""
    file = f"{STAGES[place]}.onnx"
    glimpse = {"glimpse": "image", "height": SIDE, "width": SIDE}
    last = place == len(STAGES) - 1
    made = {} if last else {f"seen{place}": "state"} | ({"rows": "state"} if place == 0 else {})
    return {
        "name": STAGES[place],
        "graph": file,
        "sha256": digests[file],
        "macs_per_row": MACS[place],
        "inputs": {"image": glimpse} if place == 0 else {"rows": "state", f"seen{place - 1}": "state"},
        "outputs": made | {f"logits{place}": "answer"},
        "exit": EXITS[place],
        "next": [] if last else [STAGES[place + 1]],
    }


@cache
def _graphs() -> dict[str, bytes]:
    """The graphs by stage."""
    return {stage: _graph(place).SerializeToString() for place, stage in enumerate(STAGES)}


def _graph(place: int) -> onnx.ModelProto:
    """A stage's graph, in an opset and an IR version that every ONNX Runtime since 1.20 reads."""
    before = ROWS_READ[place - 1] if place else 0
    nodes = [*_first()] if place == 0 else []
    nodes += [
        helper.make_node("Slice", ["rows", "from", "to", "axis"], ["new"]),
        helper.make_node("ReduceSum", ["new", "axis"], ["added"], keepdims=0),
        helper.make_node("Add", ["added", f"seen{place - 1}"], [f"seen{place}"])
        if place
        else helper.make_node("Identity", ["added"], ["seen0"]),
        helper.make_node("MatMul", [f"seen{place}", "weight"], [f"logits{place}"]),
    ]
    rows, seen = ("rows", [SIDE, 3]), (f"seen{place}", [3])
    given = [_tensor(*rows), _tensor(f"seen{place - 1}", [3])]
    if place == 0:
        given = [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", SIDE, SIDE, 3])]
    made = [_tensor(f"logits{place}", [len(LABELS)])]
    made += [_tensor(*rows)] if place == 0 else []
    made += [_tensor(*seen)] if place < len(STAGES) - 1 else []
    constants: Arrays = {
        "from": np.array([before], np.int64),
        "to": np.array([ROWS_READ[place]], np.int64),
        "axis": np.array([1], np.int64),
        # Sure of itself by the same measure at every exit: temperatures have something to correct.
        "weight": np.eye(3, dtype=np.float32) * _SHARPNESS / ROWS_READ[place],
        "width": np.array([2], np.int64),
        "scale": np.array(255.0, np.float32),
    }
    used = {name for node in nodes for name in node.input}
    initial = [numpy_helper.from_array(array, name) for name, array in constants.items() if name in used]
    graph = helper.make_graph(nodes, STAGES[place], given, made, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def _first() -> list[onnx.NodeProto]:
    """Mean colour of each pixel row: float [n, 8, 3] in 0..1."""
    return [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "width"], ["means"], keepdims=0),
        helper.make_node("Div", ["means", "scale"], ["rows"]),
    ]


def _tensor(name: str, shape: list[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])


def all_logits(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What every exit answers, each stage run by ONNX Runtime on all rows: float32 [exits, rows, classes]."""
    known: Arrays = {"image": images}
    for graph in _graphs().values():
        session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
        names = [node.name for node in session.get_outputs()]
        known |= dict(
            zip(names, session.run(names, {i.name: known[i.name] for i in session.get_inputs()}), strict=True)
        )
    return np.stack([known[f"logits{place}"] for place in range(len(STAGES))])


@cache
def _calibration() -> Arrays:
    """The router's tables, from one set of pictures, and the record of another that ran with them."""
    images, labels = pictures(_ROUTER_SAMPLES, _ROUTER_SEED)
    tables = _tables(all_logits(images), labels)
    images, labels = pictures(_CALIBRATION_SAMPLES, _CALIBRATION_SEED)
    return tables | _record(all_logits(images), labels, tables)


def _tables(logits: NDArray[np.float32], labels: NDArray[np.int16]) -> Arrays:
    temperature = np.array([_temperature(of_exit, labels) for of_exit in logits], np.float32)
    right = (logits.argmax(axis=2) == labels).astype(np.float64)
    edges = np.empty((len(EXITS) - 1, _BINS + 1), np.float32)
    gain = np.zeros((len(EXITS) - 1, len(EXITS), _BINS), np.float32)
    for here in range(len(EXITS) - 1):
        score = softmax(logits[here] / temperature[here]).max(axis=1)
        edges[here] = np.quantile(score, np.linspace(0, 1, _BINS + 1))
        bins = np.searchsorted(edges[here, 1:-1], score, side="right")
        for later in range(here + 1, len(EXITS)):
            gained = right[later] - right[here]
            gain[here, later] = [gained[bins == place].mean() for place in range(_BINS)]
    return {"temperature": temperature, "gain_edges": edges, "gain": gain, "exit_macs": np.cumsum(MACS)}


def _temperature(logits: NDArray[np.float32], labels: NDArray[np.int16]) -> float:
    """The temperature of least log loss on a grid."""
    grid = np.geomspace(0.1, 10.0, 33)
    rows = np.arange(len(labels))
    losses = [-np.log(softmax(logits / np.float32(t))[rows, labels] + 1e-12).mean() for t in grid]
    return float(grid[int(np.argmin(losses))])


@dataclass(frozen=True)
class Walks:
    """Where walks at one price ended, int arrays [rows]."""

    exits: NDArray[np.int8]
    predictions: NDArray[np.int16]


def _record(logits: NDArray[np.float32], labels: NDArray[np.int16], tables: Arrays) -> Arrays:
    """The calibration record: every sample walked at every price, by the router that serves."""
    prices = np.concatenate(([-np.inf, 0.0], np.geomspace(0.3, 300.0, 16), [np.inf]))
    router = build(_unfinished(tables))
    walks = [_walk(router, logits, price) for price in prices]
    exits = np.stack([walk.exits for walk in walks])
    return {
        "prices": prices,
        "labels": labels,
        "predictions": np.stack([walk.predictions for walk in walks]),
        "exits": exits,
        "macs": tables["exit_macs"][exits],
    }


def one_stage(
    prices: NDArray[np.float64], labels: NDArray[np.int16], predictions: NDArray[np.int16], macs: NDArray[np.int64]
) -> Record:
    """A record whose walks all run one stage and leave at its exit, whatever they are said to cost."""
    nowhere = np.zeros_like(predictions)
    return Record(prices, labels, predictions, nowhere.astype(np.int8), macs, np.ones((1, 1), np.uint16), nowhere)


def _walk(router: Router, logits: NDArray[np.float32], price: float) -> Walks:
    rows = logits.shape[1]
    walks = Walks(np.full(rows, -1, np.int8), np.full(rows, -1, np.int16))
    here = np.arange(rows)
    for stage in range(len(STAGES)):
        routing = router.route(stage, {f"logits{stage}": logits[stage, here]}, np.full(len(here), price))
        assert routing.answer is not None
        leaving = routing.next == LEAVE
        walks.exits[here[leaving]] = stage
        walks.predictions[here[leaving]] = routing.answer[leaving].argmax(axis=1)
        here = here[~leaving]
    return walks


def _unfinished(tables: Arrays) -> Package:
    """The package as its own router needs it before there is a record."""
    nothing = {**{f"{stage}.onnx": "0" * 64 for stage in STAGES}, CALIBRATION: "0" * 64}
    described = Manifest.model_validate(_manifest("colours", nothing))
    empty = np.zeros((0, 0))
    record = Record(empty, empty, empty, empty, empty, empty, empty)  # type: ignore[arg-type]
    return Package(Path(), described, StageGraph.of(described.stages), LABELS, record, tables, "")
