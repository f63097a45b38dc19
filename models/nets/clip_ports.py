"""What flows between the stages that read clips, by name: to export them, to describe them, and to time them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.export import StagePorts
from models.nets.clip_agent import HIDDEN, SEEN
from models.nets.clips import COARSE, FEATURES, FRAME, THUMB, WIDE
from models.nets.coarse_fine import COARSE_FEATURES
from models.nets.kept import KEPT
from models.nets.peek import NUMBERS

MOMENTS = 16
PICTURES = {"frame": FRAME, "wide": WIDE, "small": COARSE, "thumb": THUMB}
STATES = {
    "features": (FEATURES,),
    "best": (FEATURES,),
    "total": (FEATURES,),
    "count": (1,),
    "looked": (MOMENTS, NUMBERS + 1),
    "kept": (KEPT, NUMBERS + 1),
    "here": (NUMBERS,),
    "least": (FEATURES,),
    "c_best": (COARSE_FEATURES,),
    "c_total": (COARSE_FEATURES,),
    "c_count": (1,),
    "hidden": (HIDDEN,),
    "visited": (MOMENTS,),
    "memory": (MOMENTS, SEEN),
    "before": (MOMENTS,),
    "seen": (MOMENTS, FEATURES),
}
VOTES = ("c_logits", "f_logits")
NAMES = {"before": "where"}
"""Ports whose state has another name."""


def example(name: str, rows: int, classes: int) -> Tensor:
    """Something of the right shape for a graph input; reproducible."""
    random = torch.Generator().manual_seed(len(name))
    if name in PICTURES or name == "thumbs":
        pixels: tuple[int, ...] = (MOMENTS, *THUMB) if name == "thumbs" else PICTURES[name]
        return torch.randint(0, 256, (rows, *pixels, 3), dtype=torch.uint8, generator=random)
    sizes = (classes,) if name in VOTES else STATES[name]
    made = torch.rand((rows, *sizes), generator=random)
    return (made * 4).round() if name.endswith("count") else made


def glimpses(ports: StagePorts, at: float | None) -> dict[str, dict[str, Any]]:
    """Views of the clip that a stage asks for, by graph input; where the router says, else at the moment `at`."""
    return {name: _glimpse(name, at) for name in ports.inputs if name in PICTURES or name == "thumbs"}


def roles(ports: StagePorts) -> dict[str, Any]:
    """States that go by another name than the graph's ports: `best_next` is the state `best`."""
    renamed = {name: {"state": NAMES[name]} for name in ports.inputs if name in NAMES}
    return renamed | {name: {"state": name.removesuffix("_next")} for name in ports.outputs if name.endswith("_next")}


def _glimpse(name: str, at: float | None) -> dict[str, Any]:
    if name == "thumbs":
        return {"glimpse": "frames", "count": MOMENTS, "height": THUMB[0], "width": THUMB[1]}
    height, width = PICTURES[name]
    return {"glimpse": "frame", "height": height, "width": width} | ({} if at is None else {"at": [at]})
