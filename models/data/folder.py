"""The folder that holds the data sets: `OFFRAMP_DATA` names it, and it isn't part of the project."""

import os
from pathlib import Path


class DataMissing(RuntimeError):
    """A data set is not where `OFFRAMP_DATA` says."""


def file(name: str, remedy: str) -> Path:
    """A file of the folder, `name` with its data set's folder before it.

    Raises:
        DataMissing: it isn't there; the message ends with the `remedy`, what to put there.
    """
    root = os.environ.get("OFFRAMP_DATA")
    if not root:
        raise DataMissing(f"OFFRAMP_DATA is not set: point it at the folder that holds {name}")
    path = Path(root) / name
    if not path.is_file():
        raise DataMissing(f"{path} is missing: {remedy}")
    return path
