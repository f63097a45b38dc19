"""Glimpses of clips for whole-split walks: every moment of the grid decoded once by the server's own reader, and
kept."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration.views import Where
from models.data.clips import ClipSet, Part
from service.media.video import VideoSource
from service.package.glimpses import FramesGlimpse, Glimpse
from service.package.manifest import Manifest
from service.package.stage import Stage
from service.routing.moments import moments


class ClipViews:
    """Clips of a part as the server's walks see them, at the moments (k + 0.5) / M of their set only.

    Decoded by `VideoSource`, in time order, once for each kind of glimpse that the manifest asks for; kept in `folder`.
    """

    def __init__(
        self, manifest: Manifest, folder: Path, source: ClipSet, part: Part, rows: NDArray[np.int64] | None = None
    ) -> None:
        """`rows` of the part, or all of it."""
        self._moments = source.moments
        self._kept: dict[str, NDArray[np.uint8]] = {}
        for spec in (spec for stage in manifest.stages for spec in stage.glimpses.values()):
            self._kept[_key(spec)] = served(spec, folder, source, part, rows)

    def __len__(self) -> int:
        """See `Views`."""
        return len(next(iter(self._kept.values())))

    def view(self, stage: Stage, samples: NDArray[np.int64], at: Where) -> dict[str, NDArray[Any]]:
        """See `Views.view`."""
        return {name: self._look(spec, samples, at) for name, spec in stage.glimpses.items()}

    def _look(self, spec: Glimpse, samples: NDArray[np.int64], at: Where) -> NDArray[Any]:
        kept = self._kept[_key(spec)]
        if isinstance(spec, FramesGlimpse):
            return np.asarray(kept[samples])
        wheres = [spec.default if where is None else where for where in at]
        owner = np.repeat(samples, [len(where) for where in wheres if where is not None])
        shares = np.concatenate([where[:, 0] for where in wheres if where is not None])
        return np.asarray(kept[owner, (shares * self._moments).astype(np.int64)])


def _key(spec: Glimpse) -> str:
    return "-".join(str(size) for size in (spec.glimpse, *spec.shape))


def served(
    spec: Glimpse, folder: Path, source: ClipSet, part: Part, rows: NDArray[np.int64] | None = None
) -> NDArray[np.uint8]:
    """What a glimpse shows of clips at every moment: uint8 [n, M, h, w, 3]; of `rows`, or of the whole part."""
    file = folder / f"served-{part}{'' if rows is None else len(rows)}-{_key(spec)}.npy"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        clips = source.load(part)
        videos = clips.videos if rows is None else clips.take(rows).videos
        np.save(file, np.stack([_decoded(video, spec, source.moments) for video in videos]))
    kept: NDArray[np.uint8] = np.load(file, mmap_mode="r")
    return kept


def _decoded(video: bytes, spec: Glimpse, count: int) -> NDArray[np.uint8]:
    source = VideoSource.open(video, content_type="video/mp4")
    if isinstance(spec, FramesGlimpse):
        return np.asarray(source.look(spec, None)[0])
    return source.look(spec, moments(count))
