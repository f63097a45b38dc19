"""Images with labels to send: the dev test split of CIFAR-10, as the files that it is made of."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True)
class Images:
    """JPEG files and the label of each."""

    files: list[bytes]
    labels: list[str]


def cifar10() -> Images:
    """The dev test split from the folder that OFFRAMP_DATA names."""
    folder = os.environ.get("OFFRAMP_DATA")
    if not folder:
        raise SystemExit("OFFRAMP_DATA must name the folder of the data sets: images with labels are sent")
    with np.load(Path(folder) / "cifar10" / "devtest.npz") as stored:
        jpeg, offsets, labels, classes = (stored[name] for name in ("jpeg", "offsets", "labels", "classes"))
    order = np.random.default_rng(0).permutation(len(labels))
    files = [jpeg[offsets[place] : offsets[place + 1]].tobytes() for place in order]
    return Images(files, [str(classes[labels[place]]) for place in order])
