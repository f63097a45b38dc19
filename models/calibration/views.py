"""Where walks of a whole split take their glimpses from: arrays in memory, or sources as the server opens them."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.media.source import Source
from service.package.stage import Stage

Where = Sequence[NDArray[np.float32] | None]
"""For each row float32 [k, coordinates], or None: where the stage says."""


class Views(Protocol):
    """The inputs of a split."""

    def __len__(self) -> int:
        """Number of samples."""

    def view(self, stage: Stage, samples: NDArray[np.int64], at: Where) -> dict[str, NDArray[Any]]:
        """What a stage's glimpses show of `samples` int [rows] at those places: by graph input, [sum of k, ...]."""


class ArrayViews:
    """Whole glimpses that were made beforehand, by graph input, [n, ...]: for packages that look once."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = arrays

    def __len__(self) -> int:
        """See `Views`."""
        return len(next(iter(self._arrays.values())))

    def view(self, stage: Stage, samples: NDArray[np.int64], at: Where) -> dict[str, NDArray[Any]]:
        """See `Views.view`."""
        return {name: self._arrays[name][samples] for name in stage.glimpses}


class SourceViews:
    """Sources as the server opens them, one a sample. What was looked at once is kept, unless that is switched off."""

    def __init__(self, sources: Sequence[Source], *, keep: bool = True) -> None:
        self._sources, self._keep = sources, keep
        self._kept: dict[tuple[int, str, bytes], NDArray[Any]] = {}

    def __len__(self) -> int:
        """See `Views`."""
        return len(self._sources)

    def view(self, stage: Stage, samples: NDArray[np.int64], at: Where) -> dict[str, NDArray[Any]]:
        """See `Views.view`."""
        return {
            name: np.concatenate(
                [
                    self._look(sample, spec, where if spec.coordinates and where is not None else spec.default)
                    for sample, where in zip(samples.tolist(), at, strict=True)
                ]
            )
            for name, spec in stage.glimpses.items()
        }

    def _look(self, sample: int, spec: Any, at: NDArray[np.float32] | None) -> NDArray[Any]:
        key = (sample, repr(spec), b"" if at is None else at.tobytes())
        if key in self._kept:
            return self._kept[key]
        seen = self._sources[sample].look(spec, at)
        if self._keep:
            self._kept[key] = seen
        return seen
