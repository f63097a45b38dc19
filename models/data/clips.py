"""Labelled clips out of one tar with its `index.csv`, read at the moments that the server looks at."""

import csv
import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

from models.data import folder

Part = Literal["train", "devtest"]


@dataclass(frozen=True)
class Clips:
    """Clips as they came: `videos` the bytes of each file, `labels` int64 [n], `groups` int64 [n]: which clips of a
    class show one scene."""

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


@dataclass(frozen=True)
class ClipSet:
    """A data set of clips: how many moments a full walk looks at, and where its clips come from."""

    moments: int
    load: Callable[[Part], Clips]


def archive_path(name: str, part: Part, content: str) -> Path:
    """Where the archive of a part stands; raises DataMissing with the remedy: what `content` it would have."""
    return folder.file(f"{name}/{part}.tar", f"put a tar of {content} there")


def read(path: Path, group: Callable[[Mapping[str, str]], int]) -> Clips:
    """All clips of an archive, not yet decoded; classes in alphabetical order, `group` from a row of the index."""
    with tarfile.open(path) as archive:
        index = list(csv.DictReader(io.StringIO(_member(archive, "index.csv").decode("utf8"))))
        videos = tuple(_member(archive, row["file"]) for row in index)
    classes = tuple(sorted({row["label"] for row in index}))
    labels = np.array([classes.index(row["label"]) for row in index], np.int64)
    return Clips(videos, labels, np.array([group(row) for row in index], np.int64), classes)


def moments(count: int) -> NDArray[np.float32]:
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
        raise folder.DataMissing(f"{archive.name!r} holds no file {name}")
    return file.read()
