"""Training on what a frozen trunk makes of the images: computed once, in a few augmented views, instead of every epoch.

A step then costs only what is trained. The views stand in files, one a state tensor and view, so that several networks
on the same trunk share them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.cifar10 import ImageSet
from models.export import run, session
from models.training.augmentation import Augmentation, alternating_flips
from models.training.loop import Net, Plan, Trainer

View = Mapping[str, NDArray[np.float16]]
"""State tensors by name, float16 [n, ...], in the order of the images that they were made of."""
Maker = Callable[[NDArray[np.uint8]], Mapping[str, NDArray[Any]]]
"""Images uint8 [n, h, w, 3] to state tensors by name."""


def views(
    trunk: Path, images: NDArray[np.uint8], augmentation: Augmentation, folder: Path, *, count: int
) -> list[View]:
    """The states that a trunk's graph makes of augmented images, `count` times; read where they stand in `folder`."""
    names = [port.name for port in session(trunk).get_outputs() if len(port.shape) == 4]

    def make() -> Maker:
        graph = session(trunk, threads=2)
        return lambda drawn: run(graph, {"image": drawn})

    return kept(make, names, images, augmentation, folder, count=count)


def kept(
    make: Callable[[], Maker],
    names: Sequence[str],
    images: NDArray[np.uint8],
    augmentation: Augmentation,
    folder: Path,
    *,
    count: int,
) -> list[View]:
    """What a maker makes of augmented images, `count` times, by name; read where it stands in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    found: list[View] = []
    for view in range(count):
        files = {name: folder / f"{name}-{view}.npy" for name in names}
        if not all(file.exists() for file in files.values()):
            _write(make(), images, augmentation, files, view)
        found.append({name: np.load(file, mmap_mode="r") for name, file in files.items()})
    return found


def _write(
    make: Maker, images: NDArray[np.uint8], augmentation: Augmentation, files: Mapping[str, Path], view: int
) -> None:
    padded, rng = augmentation.pad(images), np.random.default_rng(view)
    arrays: dict[str, NDArray[np.float16]] = {}
    for start in range(0, len(images), 500):
        rows = np.arange(start, min(start + 500, len(images)))
        flips = alternating_flips(rows, view, 0, len(images))
        made = make(augmentation.draw(padded, rows, flips, rng))
        for name, file in files.items():
            if name not in arrays:
                shape = (len(images), *made[name].shape[1:])
                fresh = file.with_suffix(".new")
                arrays[name] = np.lib.format.open_memmap(fresh, mode="w+", dtype=np.float16, shape=shape)
            arrays[name][rows] = made[name]
    for file in files.values():
        file.with_suffix(".new").replace(file)


class FeatureTrainer(Trainer[Net]):
    """Trains a network on views; its `forward` takes a trunk's state, or images, which are only used for the log."""

    def __init__(
        self,
        net: Net,
        seen: Sequence[View],
        data: ImageSet,
        watch: ImageSet,
        plan: Plan,
        folder: Path,
        *,
        compiled: bool = True,
    ) -> None:
        """`seen` are views of `data`, row by row."""
        super().__init__(net, data, watch, plan, folder, compiled=compiled)
        self.seen = seen

    def _batches(self) -> Iterator[tuple[Any, Tensor]]:
        rng = np.random.default_rng((self.plan.seed, self.epoch))
        order: NDArray[np.int64] = rng.permutation(len(self.labels))
        for number, rows in enumerate(order[: self.steps_per_epoch * self.plan.batch].reshape(-1, self.plan.batch)):
            # One view a batch: a gather from one array; over the epochs each image is met in all of them.
            state = taken(self.seen[(self.epoch + number) % len(self.seen)], np.sort(rows))
            yield state, self.labels[torch.from_numpy(np.sort(rows))]


def taken(view: View, rows: NDArray[np.int64]) -> dict[str, Tensor]:
    """The state of some images in a view, float32 [rows, ...]; maps channels last."""
    made = {name: torch.from_numpy(array[rows]).float() for name, array in view.items()}
    return {
        name: tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
        for name, tensor in made.items()
    }
