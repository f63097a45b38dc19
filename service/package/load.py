"""A package from a folder: manifest, hashes, labels, tables, curve. Nothing is run here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import PackageError
from service.package import manifest, record
from service.package.graph import StageGraph
from service.package.manifest import Manifest
from service.package.record import Record
from service.package.stage import Stage
from service.task.base import Task
from service.task.registry import task


@dataclass(frozen=True)
class Package:
    """A verified package. `tables` are the arrays of its calibration file that are not the record: the router's."""

    path: Path
    manifest: Manifest
    graph: StageGraph
    labels: tuple[str, ...]
    record: Record
    tables: Mapping[str, NDArray[Any]]
    digest: str

    @property
    def name(self) -> str:
        """The name under which it is served."""
        return self.manifest.name

    @property
    def task(self) -> Task:
        """What its answers are."""
        return task(self.manifest.task)

    def stage(self, place: int) -> Stage:
        """The stage at a place of the graph."""
        return self.manifest.stages[self.graph.stage_of[place]]

    def file_bytes(self, name: str) -> bytes:
        """One of the package's further files, verified once more.

        Raises:
            PackageError: it is gone, or no longer what the manifest says.
        """
        return _verified(self.path / name, self.manifest.files[name])

    def graph_bytes(self, stage: Stage) -> bytes:
        """A stage's ONNX file, verified once more.

        Raises:
            PackageError: it is gone, or no longer what the manifest says.
        """
        return _verified(self.path / stage.graph, stage.sha256)


def load(path: Path) -> Package:
    """Read and verify the package in a folder.

    Raises:
        PackageError: anything missing, altered since it was made, or inconsistent.
    """
    text = _read(path / manifest.FILE, "write the package again with models.export").decode("utf-8", "replace")
    described = manifest.parse(text, path / manifest.FILE)
    for stage in described.stages:
        _verified(path / stage.graph, stage.sha256)
    for name, sha256 in described.files.items():
        _verified(path / name, sha256)
    calibration = path / described.calibration.file
    arrays = _arrays(_verified(calibration, described.calibration.sha256), calibration)
    labels = _labels(path / described.labels)
    graph = StageGraph.of(described.stages, described.laps)
    taken = record.read(arrays, calibration, graph, counted=task(described.task).counted)
    _check_record(taken, graph, labels, calibration)
    return Package(
        path=path,
        manifest=described,
        graph=graph,
        labels=labels,
        record=taken,
        tables={name: array for name, array in arrays.items() if name not in Record.__slots__},
        # The manifest has the hashes of graphs and calibration; swapped labels make another model as well.
        digest=hashlib.sha256(text.encode() + "\n".join(labels).encode()).hexdigest(),
    )


def _read(file: Path, remedy: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise PackageError(file, "(file)", error.strerror or "unreadable", remedy) from error


def _verified(file: Path, expected: str) -> bytes:
    data = _read(file, "restore it from where the package came")
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        problem = f"sha256 is {found[:12]}.., the manifest says {expected[:12]}.."
        raise PackageError(file, "sha256", problem, "restore the file, or make the package again")
    return data


def _arrays(data: bytes, file: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # numpy lets through what zipfile, zlib and the header's parser raise
        remedy = "make it again with models.calibrate"
        raise PackageError(file, "(whole file)", f"no readable npz: {error}", remedy) from error


def _labels(file: Path) -> tuple[str, ...]:
    lines = _read(file, "list one label a line").decode("utf-8", "replace").splitlines()
    labels = tuple(line.strip() for line in lines if line.strip())
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise PackageError(file, "(whole file)", "needs two or more different labels", "list one label a line")
    return labels


def _check_record(taken: Record, graph: StageGraph, labels: tuple[str, ...], file: Path) -> None:
    remedy = "make it again with models.calibrate for these stages"
    limits = {"exits": len(graph.exits), "route": len(taken.routes)}
    if taken.counted:
        limits |= {"predictions": len(labels), "labels": len(labels)}
    for name, limit in limits.items():
        values = getattr(taken, name)
        if values.min() < 0 or values.max() >= limit:
            raise PackageError(file, name, f"values must be in 0..{limit - 1}", remedy)
    if taken.routes.shape[1] != len(graph.names):
        problem = f"{taken.routes.shape[1]} columns, the manifest has {len(graph.names)} places for a walk"
        raise PackageError(file, "routes", problem, remedy)
    if taken.macs.min() < 0 or taken.macs.max() > graph.full_macs:
        problem = f"values must be in 0..{graph.full_macs}, the MACs of a full walk by the manifest"
        raise PackageError(file, "macs", problem, remedy)
