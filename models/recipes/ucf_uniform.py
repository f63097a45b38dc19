"""Baselines for clips: the same number of evenly spread frames of every clip, through the backbone or the coarse
net."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models import export
from models.calibration.clip_views import served
from models.calibration.memo import Memo
from models.data import ucf101
from models.data.clip_cache import ClipCache
from models.nets.clips import FRAME, PoolHead
from service.package.glimpses import FrameGlimpse

COUNTS = (1, 2, 4, 8, 16)
COARSE_MACS = 24_800_000
"""Multiply-adds of a frame through the coarse network, as counted in ucf-hierarchical's graph."""


def evenly(count: int) -> list[int]:
    """Moments of the grid in the middles of `count` equal parts of a clip."""
    return [int((place + 0.5) / count * ucf101.MOMENTS) for place in range(count)]


def measured(graph: Path, macs: int, heads: Mapping[str, PoolHead], cache: Path) -> list[dict[str, Any]]:
    """Every baseline on devtest: `name`, `macs` of a clip, `right` 0 or 1 for each clip; kept in `cache`.

    Args:
        graph: the backbone's, of `macs` for one frame.
        macs: multiply-adds.
        heads: `uniform` on the backbone's features, `coarse` on the coarse network's.
        cache: folder of features.
    """
    file = cache / "uniform.json"
    if not file.exists():
        labels = torch.from_numpy(ucf101.load("devtest").labels)
        fine = torch.from_numpy(served_features(graph, cache))
        coarse = torch.from_numpy(np.asarray(ClipCache(cache).coarse_features("devtest")).astype(np.float32))
        made = []
        for name, features, cost in (("uniform", fine, macs), ("coarse", coarse, COARSE_MACS)):
            for count in COUNTS:
                with torch.no_grad():
                    told = heads[name].over(features[:, evenly(count)])
                right = (told.argmax(dim=1) == labels).int().tolist()
                made.append({"name": f"{name}, {count} frame{'s' * (count > 1)}", "macs": cost * count, "right": right})
        file.write_text(json.dumps(made))
    found: list[dict[str, Any]] = json.loads(file.read_text())
    return found


def served_features(graph: Path, cache: Path) -> NDArray[np.float32]:
    """Features of devtest's frames as the server decodes them: float32 [n, 16, 1280]."""
    frames = served(FrameGlimpse(glimpse="frame", height=FRAME[0], width=FRAME[1]), cache, "devtest")
    memo = Memo(export.session(graph, threads=2), graph, cache)
    made = [memo.run(None, {"frame": clip})[0] for clip in frames]
    memo.save()
    return np.stack(made)
