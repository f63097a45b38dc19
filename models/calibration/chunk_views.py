"""Chunks that were tokenised beforehand, as a reader's stages ask for them: what TextSource gives, but at once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration.views import Where
from models.data.chunked import Chunked
from service.package.stage import Stage


class ChunkViews:
    """See `models.calibration.views.Views`."""

    def __init__(self, data: Chunked) -> None:
        self._data = data

    def __len__(self) -> int:
        """See `Views`."""
        return len(self._data.chunks)

    def view(self, stage: Stage, samples: NDArray[np.int64], at: Where) -> dict[str, NDArray[np.generic]]:
        """See `Views.view`."""
        return {name: self._look(spec.glimpse, samples, _chunk(spec, at)) for name, spec in stage.glimpses.items()}

    def _look(self, kind: str, samples: NDArray[np.int64], chunk: NDArray[np.int64]) -> NDArray[np.generic]:
        size = self._data.chunks[samples]
        chunk = np.where(chunk < 0, chunk + size, chunk)
        if kind == "chunks":
            return size[:, None].astype(np.float32)
        if kind == "chunk":
            return chunk[:, None].astype(np.float32)
        there = (chunk >= 0) & (chunk < size)
        rows = self._data.tokens[self._data.first[samples] + np.where(there, chunk, 0)]
        return np.where(there[:, None], rows, 0).astype(np.int32)


def _chunk(spec: Any, at: Where) -> NDArray[np.int64]:
    """Numbers of the chunks that are looked at; where the router named none, the glimpse's own."""
    default = 0 if spec.default is None else round(float(spec.default[0, 0]))
    return np.array([default if where is None else round(float(where[0, 0])) for where in at], np.int64)
