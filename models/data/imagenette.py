"""Imagenette (ten easy classes of ImageNet) as 224x224 JPEG files, decoded exactly as the server decodes them."""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.data import folder, splits
from models.data.cifar10 import decode

Part = Literal["train", "devtest"]
SIDE = 224
SEED = 0
ROUTER_SIZE, CALIBRATION_SIZE = 400, 700
SOURCE = "github.com/thunderInfy/imagenette @ b850f030ff0701c36a4adc8b928ea9483a46915b, cut to 2,000 + 800"


@dataclass(frozen=True)
class Photos:
    """Labelled photographs: `files` the JPEG bytes, `labels` int64 [n], `classes` the names by label, `imagenet` the
    classes' numbers among ImageNet's 1000."""

    files: tuple[bytes, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    imagenet: tuple[int, ...]

    def take(self, index: NDArray[np.integer]) -> "Photos":
        """The rows of `index`, in its order."""
        return Photos(tuple(self.files[row] for row in index.tolist()), self.labels[index], self.classes, self.imagenet)

    def pixels(self) -> NDArray[np.uint8]:
        """All of them decoded: uint8 [n, 224, 224, 3], RGB; 150 KB each."""
        return np.stack([decode(file) for file in self.files])

    def __len__(self) -> int:
        return len(self.labels)


def archive_path(part: Part) -> Path:
    """Where the archive of a part stands; raises DataMissing with the remedy."""
    remedy = (
        "put Imagenette (github.com/thunderInfy/imagenette) at 224x224 there, all JPEG files joined in `jpeg`, "
        "cut by `offsets`, with `labels` and `classes`"
    )
    return folder.file(f"imagenette/{part}.npz", remedy)


def load(part: Part) -> Photos:
    """The files of a part, not decoded."""
    with np.load(archive_path(part), allow_pickle=False) as archive:
        joined, offsets = archive["jpeg"].tobytes(), archive["offsets"].tolist()
        labels = archive["labels"].astype(np.int64)
        classes = tuple(str(name) for name in archive["classes"])
        imagenet = tuple(int(number) for number in archive["imagenet1k_index"])
    return Photos(tuple(joined[start:end] for start, end in pairwise(offsets)), labels, classes, imagenet)


@cache
def training_set() -> Photos:
    """The 2,000 photos that are not devtest."""
    return load("train")


@cache
def parts() -> splits.Splits:
    """Which of them serve what: 900 train, 400 make the router's tables, 700 certify."""
    return splits.stratified(training_set().labels, router=ROUTER_SIZE, calibration=CALIBRATION_SIZE, seed=SEED)
