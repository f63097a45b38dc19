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
from models.data.clips import ClipSet
from models.nets.clips import FRAME, PoolHead
from service.package.glimpses import FrameGlimpse

COUNTS = (1, 2, 4, 8, 16)
COARSE_MACS = 24_800_000
"""Multiply-adds of a frame through the coarse network, as counted in ucf-hierarchical's graph."""


def evenly(count: int, moments: int = ucf101.MOMENTS) -> list[int]:
    """Which of a grid's moments are in the middles of `count` equal parts of a clip."""
    return [int((place + 0.5) / count * moments) for place in range(count)]


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
        fine = torch.from_numpy(served_features(graph, cache, ucf101.SET, FRAME))
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


def served_features(graph: Path, cache: Path, clips: ClipSet, size: tuple[int, int]) -> NDArray[np.float32]:
    """Features of devtest's frames of a size as the server decodes them: float32 [n, moments, 1280]."""
    frames = served(FrameGlimpse(glimpse="frame", height=size[0], width=size[1]), cache, clips, "devtest")
    memo = Memo(export.session(graph, threads=2), graph, cache)
    port = memo.get_inputs()[0].name
    made = [memo.run(None, {port: clip})[0] for clip in frames]
    memo.save()
    return np.stack(made)
