"""Writing of a package: the manifest, its hashes, labels and calibration file, and a check that the server reads it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from numpy.typing import NDArray

from models.macs import macs_per_row
from service.package.graph import StageGraph
from service.package.load import Package, load
from service.package.manifest import FILE, FORMAT, Manifest
from service.package.record import Record
from service.routing.base import build

CALIBRATION = "calibration.npz"
LABELS = "labels.txt"


@dataclass(frozen=True)
class Title:
    """What the manifest says of the package as a whole."""

    name: str
    version: str
    modality: str
    task: str
    family: str
    router: str
    description: str
    laps: int = 1
    zeros: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    """Names of further files that stand in the package's folder."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Of the router."""
    default_agreement: float | None = None
    """None: as docs/packages.md says."""


def stage_entries(files: Sequence[Path], glimpses: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Manifest entries of a chain of graphs, each with an exit; `glimpses` by graph input. MACs are counted here."""
    names = [file.stem for file in files]
    return [
        stage_entry(file, names[place + 1 : place + 2], glimpses, exit_name=f"exit{place + 1}")
        for place, file in enumerate(files)
    ]


def stage_entry(
    file: Path,
    after: Sequence[str],
    glimpses: Mapping[str, Mapping[str, Any]],
    *,
    exit_name: str | None,
    name: str | None = None,
    roles: Mapping[str, Any] | None = None,
    ragged: int | None = None,
) -> dict[str, Any]:
    """Manifest entry of one graph; `logits` are its answer, `after` the stages that may follow.

    Args:
        file: the graph.
        after: names of stages.
        glimpses: by graph input.
        exit_name: None without an exit.
        name: of the stage; the file's unless told.
        roles: what graph inputs and outputs are, where that is not a glimpse, the answer, or a state of that name.
        ragged: most rows of a sample.
    """
    roles = roles or {}
    model = onnx.load(file)
    # Pictures of any size are counted at the size that is asked for.
    sizes = {port: (spec["height"], spec["width"], 3) for port, spec in glimpses.items() if "height" in spec}
    inputs = [port.name for port in model.graph.input]
    outputs = [port.name for port in model.graph.output]
    return {
        "name": name or file.stem,
        "graph": file.name,
        "sha256": digest(file),
        "macs_per_row": macs_per_row(model, sizes),
        "inputs": {port: dict(glimpses[port]) if port in glimpses else roles.get(port, "state") for port in inputs},
        "outputs": {port: roles.get(port, "answer" if port == "logits" else "state") for port in outputs},
        "exit": exit_name,
        "next": list(after),
    } | ({"ragged": ragged} if ragged else {})


def exit_macs(stages: Sequence[Mapping[str, Any]]) -> NDArray[np.int64]:
    """MACs spent when each exit of a chain stands, int64 [K]."""
    return np.cumsum([stage["macs_per_row"] for stage in stages], dtype=np.int64)


def write(
    folder: Path,
    title: Title,
    stages: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    arrays: Mapping[str, NDArray[Any]],
    provenance: Mapping[str, Any],
) -> Package:
    """Write everything but the graphs, which stand in `folder`; the package as the server reads it.

    Raises:
        PackageError: the server would refuse it.
    """
    (folder / LABELS).write_text("\n".join(labels) + "\n")
    np.savez_compressed(folder / CALIBRATION, allow_pickle=False, **arrays)
    content = _content(folder, title, stages, digest(folder / CALIBRATION), provenance)
    (folder / FILE).write_text(yaml.safe_dump(content, sort_keys=False, width=110))
    package = load(folder)
    build(package)
    return package


def renew(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> Package:
    """Another calibration file for the package in `folder`, whose manifest else stays as it is.

    Raises:
        PackageError: the server would refuse it.
    """
    np.savez_compressed(folder / CALIBRATION, allow_pickle=False, **arrays)
    content = yaml.safe_load((folder / FILE).read_text())
    content["calibration"] = {"file": CALIBRATION, "sha256": digest(folder / CALIBRATION)}
    (folder / FILE).write_text(yaml.safe_dump(content, sort_keys=False, width=110))
    package = load(folder)
    build(package)
    return package


def draft(
    folder: Path,
    title: Title,
    stages: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    tables: Mapping[str, NDArray[Any]],
) -> Package:
    """The package as its router needs it while there is no record yet: to walk the splits that it will be made of."""
    described = Manifest.model_validate(_content(folder, title, stages, "0" * 64, {}))
    answers, walks = np.empty(0, np.int16), np.empty((0, 0), np.int64)
    record = Record(
        prices=np.empty(0),
        labels=answers,
        predictions=walks.astype(np.int16),
        exits=walks.astype(np.int8),
        macs=walks,
        routes=walks.astype(np.uint16),
        route=walks.astype(np.int32),
    )
    return Package(
        folder, described, StageGraph.of(described.stages, described.laps), tuple(labels), record, tables, ""
    )


def _content(
    folder: Path,
    title: Title,
    stages: Sequence[Mapping[str, Any]],
    calibration: str,
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """The manifest; `calibration` is the hash of its file."""
    other: dict[str, Any] = {"laps": title.laps} if title.laps > 1 else {}
    other |= {"zeros": list(title.zeros)} if title.zeros else {}
    other |= {"files": {name: digest(folder / name) for name in title.files}} if title.files else {}
    other |= {"default_agreement": title.default_agreement} if title.default_agreement else {}
    parameters = {"parameters": dict(title.parameters)} if title.parameters else {}
    general = {"format": FORMAT, "name": title.name, "version": title.version, "modality": title.modality}
    return general | {
        "task": title.task,
        "family": title.family,
        "description": title.description,
        "labels": LABELS,
        "stages": [dict(stage) for stage in stages],
        **other,
        "router": {"name": title.router, **parameters},
        "calibration": {"file": CALIBRATION, "sha256": calibration},
        "provenance": dict(provenance),
    }


def digest(file: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
