"""UCF-101 (Soomro et al., 2012), nine classes of it, as H.264 clips.

A scene fills a whole *group*: all clips of a group show the same people in the same place. So splits are made by group,
and an interval over clips would be too narrow: resample groups instead.
"""

from models.data import clips
from models.data.clips import Clips, ClipSet, Part

MOMENTS = 16
"""Frames of the full walk, at the shares (k + 0.5) / 16 of a clip."""
HEIGHT, WIDTH = 160, 214


def load(part: Part) -> Clips:
    """All clips of a part; a group is the scene of a class."""
    path = clips.archive_path("ucf101_9", part, "UCF-101 clips, with index.csv (file, label, group, frames)")
    return clips.read(path, lambda row: int(row["group"]))


SET = ClipSet(MOMENTS, load)
