"""How many cores this process may really use: the smaller of its affinity mask and its cgroup's quota."""

from __future__ import annotations

import math
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
_STEPS, _LAST = 3, 19
"""Of niceness: three steps are half of the weight. With more, refusals by the thousand starve what answers."""


def available(cgroup: Path = CGROUP) -> int:
    """Whole cores, at least 1. The host's core count is no measure: a container usually owns a part of it."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota_v2(cgroup) or _quota_v1(cgroup) or math.inf
    return max(1, math.floor(min(affinity, max(1.0, quota))))


def step_back() -> None:
    """Let other threads of this process go before the calling one, where the machine lets it say so.

    What computes for milliseconds on end must not keep the event loop from a core: on one core a refusal, or an answer
    that is ready, would wait for a whole slice of the scheduler's.
    """
    if sys.platform == "linux":
        mine = threading.get_native_id()
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, mine, min(_LAST, os.getpriority(os.PRIO_PROCESS, mine) + _STEPS))


def _quota_v2(cgroup: Path) -> float | None:
    """Cores by cgroup v2's `cpu.max` ("quota period" in microseconds, or "max period")."""
    words = _words(cgroup / "cpu.max")
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0] != "max" else None


def _quota_v1(cgroup: Path) -> float | None:
    """Cores by cgroup v1's CFS quota; -1 means none."""
    quota, period = (_words(cgroup / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return int(quota[0]) / int(period[0]) if quota and period and int(quota[0]) > 0 else None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
