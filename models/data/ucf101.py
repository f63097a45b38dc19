"""UCF-101 (Soomro et al., 2012), nine classes of it, as H.264 clips, read at the moments that the server looks at.

A scene fills a whole *group*: all clips of a group show the same people in the same place. So splits are made by group,
and an interval over clips would be too narrow: resample groups instead.
"""

import csv
import io
import os
import tarfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

from models.data.cifar10 import DataMissing

Part = Literal["train", "devtest"]
MOMENTS = 16
"""Frames of the full walk, at the shares (k + 0.5) / 16 of a clip."""
HEIGHT, WIDTH = 160, 214


@dataclass(frozen=True)
class Clips:
    """Clips as they came: `videos` the bytes of each file, `labels` int64 [n], `groups` int64 [n]: the scene of a
    class."""

    videos: tuple[bytes, ...]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.integer]) -> "Clips":
        """The rows of `index`, in its order."""
        return Clips(tuple(self.videos[row] for row in index), self.labels[index], self.groups[index], self.classes)

    @property
    def scenes(self) -> NDArray[np.int64]:
        """One number for each (class, group): clips of one scene aren't independent, int64 [n]."""
        return np.asarray(self.labels * 100 + self.groups)


def archive_path(part: Part) -> Path:
    """Where the archive of a part stands; raises DataMissing with the remedy."""
    root = os.environ.get("OFFRAMP_DATA")
    if not root:
        raise DataMissing("OFFRAMP_DATA is not set: point it at the folder that holds ucf101_9/train.tar")
    path = Path(root) / "ucf101_9" / f"{part}.tar"
    if not path.is_file():
        raise DataMissing(
            f"{path} is missing: put a tar of UCF-101 clips there, with index.csv (file, label, group, frames)"
        )
    return path


def load(part: Part) -> Clips:
    """All clips of a part, not yet decoded; classes in alphabetical order."""
    with tarfile.open(archive_path(part)) as archive:
        index = list(csv.DictReader(io.StringIO(_member(archive, "index.csv").decode("utf8"))))
        videos = tuple(_member(archive, row["file"]) for row in index)
    classes = tuple(sorted({row["label"] for row in index}))
    labels = np.array([classes.index(row["label"]) for row in index], np.int64)
    return Clips(videos, labels, np.array([int(row["group"]) for row in index], np.int64), classes)


def moments(count: int = MOMENTS) -> NDArray[np.float32]:
    """The middles of `count` equal parts, as shares of the duration: float32 [count]."""
    return ((np.arange(count) + 0.5) / count).astype(np.float32)


def shown(video: bytes, shares: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The frames that are on screen at these shares of the duration: uint8 [k, h, w, 3].

    Decodes the whole clip, which is fast where many moments of short clips are wanted; the server seeks instead.
    """
    with av.open(io.BytesIO(video), mode="r") as container:
        frames = list(container.decode(video=0))
    # By position, not by time stamp: these clips have a constant rate.
    places = [min(int(Fraction(float(share)) * len(frames)), len(frames) - 1) for share in shares]
    return np.stack([frames[place].to_ndarray(format="rgb24") for place in places])


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise DataMissing(f"{archive.name!r} holds no file {name}")
    return file.read()
