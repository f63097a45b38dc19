"""Loading verifies: nothing altered, missing, outside the folder or inconsistent gets through."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from service.errors import PackageError
from service.package.load import Package, load
from service.package.record import LOSSES
from tests.packages import CALIBRATION, EXITS, LABELS, MACS, write_colours

FILES = ("package.yaml", "labels.txt", CALIBRATION, "glance.onnx", "look.onnx", "stare.onnx")


@pytest.fixture(scope="module")
def package(colours: Path) -> Package:
    return load(colours)


def refusal(path: Path) -> PackageError:
    with pytest.raises(PackageError) as caught:
        load(path)
    assert caught.value.remedy
    return caught.value


def test_a_package_is_read_whole(package: Package, colours: Path) -> None:
    assert package.path == colours
    assert package.name == "colours"
    assert package.labels == LABELS
    assert package.graph.exits == EXITS
    assert package.graph.full_macs == sum(MACS)
    assert set(package.tables) == {"temperature", "gain_edges", "gain", "exit_macs"}
    manifest = (colours / "package.yaml").read_bytes()
    assert package.digest == hashlib.sha256(manifest + "\n".join(LABELS).encode()).hexdigest()


def test_the_full_network_of_the_record_is_the_full_network(package: Package) -> None:
    assert set(package.record.exits[0].tolist()) == {len(EXITS) - 1}
    assert set(package.record.macs[0].tolist()) == {package.graph.full_macs}


def test_what_a_package_is_made_of_changes_its_digest(package: Package, tmp_path: Path) -> None:
    tables = {"temperature": np.full(3, 0.5, np.float32)}
    assert load(write_colours(tmp_path, arrays=tables)).digest != package.digest


@pytest.mark.parametrize("file", [CALIBRATION, "glance.onnx", "look.onnx", "stare.onnx"])
def test_an_altered_file_is_refused(tmp_path: Path, file: str) -> None:
    error = refusal(write_colours(tmp_path, altered=file))
    assert (error.file, error.field) == (str(tmp_path / "colours" / file), "sha256")


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_refused_by_name(tmp_path: Path, file: str) -> None:
    error = refusal(write_colours(tmp_path, missing=file))
    assert (error.file, error.problem) == (str(tmp_path / "colours" / file), "No such file or directory")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    path = write_colours(tmp_path, missing="look.onnx")
    (path / "look.onnx").mkdir()
    assert refusal(path).file == str(path / "look.onnx")


@pytest.mark.parametrize("way", ["../stray.onnx", "/etc/hostname", "..", "more/stray.onnx"])
def test_no_file_outside_the_folder_is_opened(tmp_path: Path, way: str) -> None:
    path = write_colours(tmp_path, manifest=lambda content: content["stages"][1].update(graph=way))
    shutil.copy(path / "look.onnx", tmp_path / "stray.onnx")
    assert refusal(path).field == "stages.1.graph"


@pytest.mark.parametrize("text", ["", "red\n", "red\nred\nblue\n", "\n \n"])
def test_labels_have_to_be_two_or_more_different_ones(tmp_path: Path, text: str) -> None:
    path = write_colours(tmp_path)
    (path / "labels.txt").write_text(text)
    assert refusal(path).file == str(path / "labels.txt")


def last_dropped(arrays: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return arrays[..., :-1]


def one_too_high(arrays: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return arrays + 1


def below_zero(arrays: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return arrays - arrays.max() - 1


@pytest.mark.parametrize("change", [last_dropped, one_too_high, below_zero])
@pytest.mark.parametrize("name", ["predictions", "exits", "macs"])
def test_a_record_that_doesn_t_fit_the_stages_is_refused(
    tmp_path: Path, package: Package, name: str, change: Callable[..., Any]
) -> None:
    error = refusal(write_colours(tmp_path, arrays={name: change(getattr(package.record, name))}))
    assert (error.file, error.field) == (str(tmp_path / "colours" / CALIBRATION), name)
    assert "models.calibrate" in error.remedy


def test_a_record_of_more_labels_than_listed_is_refused(tmp_path: Path) -> None:
    assert refusal(write_colours(tmp_path, labels=LABELS[:2])).field in ("labels", "predictions")


@pytest.mark.parametrize("name", ["prices", "labels", "predictions", "exits", "macs"])
def test_an_incomplete_record_is_refused(tmp_path: Path, name: str) -> None:
    assert refusal(write_colours(tmp_path, arrays={name: None})).field == name


def as_calibration(path: Path, data: bytes) -> Path:
    """The package with other bytes for its calibration file, properly hashed."""
    (path / CALIBRATION).write_bytes(data)
    content = yaml.safe_load((path / "package.yaml").read_text())
    content["calibration"]["sha256"] = hashlib.sha256(data).hexdigest()
    (path / "package.yaml").write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    "mend",
    [
        lambda data: b"",
        lambda data: b"no archive",
        lambda data: data[: len(data) // 2],
        lambda data: data[:200] + b"\xff" * 200 + data[400:],
        lambda data: b"\x93NUMPY\x01\x00" + data,
    ],
    ids=["empty", "text", "half", "holed", "array header"],
)
def test_an_unreadable_calibration_file_is_refused(tmp_path: Path, mend: Callable[[bytes], bytes]) -> None:
    path = write_colours(tmp_path)
    error = refusal(as_calibration(path, mend((path / CALIBRATION).read_bytes())))
    assert error.file == str(path / CALIBRATION)


def test_a_single_array_is_no_calibration_file(tmp_path: Path) -> None:
    path = write_colours(tmp_path)
    np.save(tmp_path / "one.npy", np.zeros(3))
    assert "npz" in refusal(as_calibration(path, (tmp_path / "one.npy").read_bytes())).problem


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = write_colours(tmp_path)
    np.savez(tmp_path / "objects.npz", prices=np.array([print, None], object))
    assert "pickle" in refusal(as_calibration(path, (tmp_path / "objects.npz").read_bytes())).problem


def test_a_record_has_a_loss_of_every_kind_for_every_price(package: Package) -> None:
    shape = (len(package.record.prices), package.record.size)
    assert [package.record.losses(kind).shape for kind in LOSSES] == [shape] * 3
