"""Loading of CIFAR-10."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from models.data import cifar10
from models.data.folder import DataMissing


def test_an_unset_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OFFRAMP_DATA", raising=False)
    with pytest.raises(DataMissing, match="OFFRAMP_DATA is not set"):
        cifar10.load("train")


def test_a_missing_archive_says_where_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OFFRAMP_DATA", str(tmp_path))
    with pytest.raises(DataMissing, match=r"devtest\.npz is missing: put the JPEG version"):
        cifar10.load("devtest")


def test_an_archive_is_decoded_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    colours = [np.full((32, 32, 3), value, np.uint8) for value in (40, 200)]
    files = [simplejpeg.encode_jpeg(colour, quality=95) for colour in colours]
    (tmp_path / "cifar10").mkdir()
    np.savez(
        tmp_path / "cifar10" / "train.npz",
        jpeg=np.frombuffer(b"".join(files), np.uint8),
        offsets=np.cumsum([0, *map(len, files)]),
        labels=np.array([7, 3], np.uint8),
        classes=np.array(["a", "b"]),
    )
    monkeypatch.setenv("OFFRAMP_DATA", str(tmp_path))
    data = cifar10.load("train")
    assert data.images.shape == (2, 32, 32, 3)
    assert data.images.mean(axis=(1, 2, 3)) == pytest.approx([40, 200], abs=2)
    assert data.labels.tolist() == [7, 3]
    assert data.take(np.array([1])).labels.tolist() == [3]


def test_the_real_devtest(data_dir: Path) -> None:
    data = cifar10.load("devtest")
    assert len(data) == 5000
    assert data.classes[0] == "airplane"
    assert np.bincount(data.labels).min() > 0
