"""Make the package ucf-frames again: frames in coarse-to-fine order, an exit after each, and a peek that skips.

    python -m models.recipes.ucf_frames [--phase PHASE] [--work DIR] [--cache DIR] [--package DIR]

Phases: train, export, calibrate, time, card; without one, all of them in this order. OFFRAMP_DATA names the data.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import package
from models.calibration.clip_walks import Skips, moved
from models.export import GraphStage
from models.nets import peek
from models.nets.clips import Pool, See
from models.nets.peek import NUMBERS, Peek, cells, distance
from models.recipes.clip_recipe import Arrays, Trained, entry
from models.recipes.ucf import DEFAULT_AGREEMENT, FIRST, MOMENTS, ORDER, Fitting, UcfRecipe, fine_heads, held_out

WORDS = """Each lap of a loop is one moment, the middle of the clip first, then its ends, then the middles of what
lies between (the order of FrameExit, CVPR 2021). `peek` compares a 40x32 thumbnail with those before and says how
likely the frame is to change the answer (`novelty`); below a threshold that rises with the price it is skipped before
the backbone runs (the skip of Skip RNN, ICLR 2018, by a thumbnail instead of the state). `see` is the backbone,
`pool` takes maximum and mean of the features into the state and answers; a gain map at each exit says whether reading
on is worth its price."""
LOSES = """Scenes decide, not frames: what the first frame gets wrong the other fifteen mostly get wrong as well. One
uniform frame happens to be a better one (8 of 16, not 7) and is right for 95.1 % itself: on clips of one scene there
is little for a router to gain. A frame's novelty and what it moves are weakly related (correlation 0.2 to 0.3 at each
lap on held-out clips), so skips cost as much as they save."""
KNOBS = 9
"""Settings of the novelty that are tried for each price."""


class FramesRecipe(UcfRecipe):
    """Peek, see, pool."""

    def trained(self, data: Fitting) -> Trained:
        """See `ClipRecipe.trained`."""
        heads, features = fine_heads(data), data.fine()
        logits = held_out(data, heads, features)
        apart = distances(data.thumbs())
        steepness, shift = peek.fitted(apart[1:].flatten(), torch.from_numpy(moved(logits)).flatten())
        novelty = torch.sigmoid(steepness * torch.log(apart + 1e-3) + shift).numpy()
        grid = np.array([0.0, *np.quantile(novelty[1:], np.linspace(0.1, 0.95, KNOBS - 1))], np.float32)
        thinned = np.stack([held_out(data, heads, features, taken(novelty, knob)) for knob in grid])
        took = np.stack([taken(novelty, knob) for knob in grid])
        stages = [Peek(steepness, shift), See(data.cache.backbone), Pool(heads[-1])]
        return Trained(stages, {"grid": grid, "took": took, "logits": thinned})

    def tables(self, told: Arrays, labels: NDArray[np.int64], macs: Mapping[str, int]) -> Arrays:
        """See `ClipRecipe.tables`."""
        return Skips(told["grid"], told["took"], told["logits"]).tables(labels, macs)

    def entries(self, folder: Path, stages: Mapping[str, GraphStage]) -> list[dict[str, Any]]:
        """See `ClipRecipe.entries`."""
        return [
            entry(folder, stages["peek"], ["see", "peek"], at=FIRST),
            entry(folder, stages["see"], ["pool"], at=FIRST),
            entry(folder, stages["pool"], ["peek"], exit_name="after"),
        ]


def distances(thumbs: Tensor) -> Tensor:
    """How far each moment's picture is from those before it in the walk's order: float32 [16 laps, n]."""
    n = len(thumbs)
    seen = cells(thumbs[:, list(ORDER)].flatten(0, 1)).reshape(n, MOMENTS, -1)
    looked = torch.zeros(n, MOMENTS, NUMBERS + 1)
    told = []
    for lap in range(MOMENTS):
        told.append(distance(seen[:, lap], looked)[:, 0])
        looked[:, lap] = torch.cat([seen[:, lap], torch.ones(n, 1)], dim=1)
    return torch.stack(told)


def taken(novelty: NDArray[np.float32], knob: float) -> NDArray[np.bool_]:
    """Which frames a walk sees that doesn't stop: bool [16 laps, n]; the first and the last in any case."""
    took = novelty >= knob
    took[0] = took[-1] = True
    return took


RECIPE = FramesRecipe(
    module="models.recipes.ucf_frames",
    title=package.Title(
        name="ucf-frames",
        version="1.0.0",
        modality="video",
        task="classification",
        family="temporal-early-exit",
        router="frames",
        description="Nine actions in short clips (UCF-101): frames from coarse to fine until the answer is sure "
        "enough.",
        laps=MOMENTS,
        zeros=("looked", "best", "total", "count"),
        default_agreement=DEFAULT_AGREEMENT,
    ),
    words=WORDS,
    loses=LOSES,
)

if __name__ == "__main__":
    RECIPE.main()
