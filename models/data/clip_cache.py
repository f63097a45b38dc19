"""What frozen networks make of all clips, computed once and kept in a folder: training then takes seconds.

For each part: the frames at the 16 moments as stored, small pictures of them, and features of the backbone and of the
coarse network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.data import clips, ucf101
from models.data.clips import Part
from models.data.ucf101 import MOMENTS
from models.nets import lite0
from models.nets.clips import COARSE, FRAME, THUMB
from models.nets.coarse_fine import COARSE_STEP
from models.nets.lite0 import Lite0
from service.media.pixels import fit


@dataclass(frozen=True)
class ClipCache:
    """Arrays by part; made when first asked for, into `folder`."""

    folder: Path

    @cached_property
    def backbone(self) -> Lite0:
        """The fine network, its weights rounded to what is stored."""
        return _rounded(FRAME, None)

    @cached_property
    def coarse(self) -> Lite0:
        """The coarse network, likewise."""
        return _rounded(COARSE, COARSE_STEP)

    def frames(self, part: Part) -> NDArray[np.uint8]:
        """uint8 [n, 16, 160, 214, 3], as stored."""
        return self._kept(f"{part}_frames", lambda: _frames(part))

    def thumbs(self, part: Part) -> NDArray[np.uint8]:
        """uint8 [n, 16, 32, 40, 3]."""
        return self._kept(f"{part}_thumbs", lambda: np.stack([_fitted(clip, THUMB) for clip in self.frames(part)]))

    def fine_features(self, part: Part) -> NDArray[np.float16]:
        """float16 [n, 16, 1280]."""
        return self._kept(f"{part}_fine", lambda: self._features(part, self.backbone, FRAME))

    def coarse_features(self, part: Part) -> NDArray[np.float16]:
        """float16 [n, 16, 112]."""
        return self._kept(f"{part}_coarse", lambda: self._features(part, self.coarse, COARSE))

    def _kept(self, name: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        file = self.folder / f"{name}.npy"
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            np.save(file, make())
        kept: NDArray[Any] = np.load(file, mmap_mode="r")
        return kept

    def _features(self, part: Part, net: Lite0, size: tuple[int, int]) -> NDArray[np.float16]:
        frames = self.frames(part)
        made = np.zeros((len(frames), MOMENTS, net.features), np.float16)
        # bf16 is precise enough to train on; what is certified runs in float32.
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            for row, clip in enumerate(frames):
                made[row] = net(torch.from_numpy(_fitted(clip, size))).float().numpy()
        return made


def _frames(part: Part) -> NDArray[np.uint8]:
    shares = clips.moments(MOMENTS)
    return np.stack([clips.shown(video, shares) for video in ucf101.load(part).videos])


def _fitted(clip: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.stack([fit(frame, *size) for frame in clip])


def _rounded(size: lite0.Size, last_step: int | None) -> Lite0:
    net = lite0.pretrained(size, last_step)
    lite0.halved(net)
    return net
