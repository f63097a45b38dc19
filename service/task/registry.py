"""The tasks by the name that a manifest gives them."""

from __future__ import annotations

from collections.abc import Mapping

from service.task.base import Task, TaskName
from service.task.classification import Classification
from service.task.detection import Detection
from service.task.segmentation import Segmentation

_TASKS: Mapping[TaskName, Task] = {
    "classification": Classification(),
    "segmentation": Segmentation(),
    "detection": Detection(),
}


def task(name: TaskName) -> Task:
    """The task of that name."""
    return _TASKS[name]
