"""Clips of fixed cameras over railway tank wagons, four classes: a bridge let down on the wagon, taken up, an empty
track, a train that moves.

They were split inside class and location, so the cameras of devtest are those of train. One clip is in both; it is
left out of train here.
"""

import numpy as np

from models.data import clips
from models.data.clips import Clips, ClipSet, Part

MOMENTS = 32
"""Frames of the full walk, at the shares (k + 0.5) / 32 of a clip."""
LOCATIONS = ("gate", "ladder", "rusty_bridge", "station_outside", "turquoise_bridge", "two_stations")


def load(part: Part) -> Clips:
    """All clips of a part; a group is a place in LOCATIONS."""
    found = _read(part)
    if part == "devtest":
        return found
    tested = set(_read("devtest").videos)
    return found.take(np.flatnonzero([video not in tested for video in found.videos]))


def _read(part: Part) -> Clips:
    path = clips.archive_path("wagon4", part, "wagon clips, with index.csv (file, label, location)")
    return clips.read(path, lambda row: LOCATIONS.index(row["location"]))


SET = ClipSet(MOMENTS, load)
