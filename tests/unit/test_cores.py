"""Cores that are really there, by made-up cgroup folders on a machine of eight."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service import cores
from service.cores import available


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def v2(folder: Path, line: str) -> Path:
    (folder / "cpu.max").write_text(line + "\n")
    return folder


def v1(folder: Path, quota: int) -> Path:
    (folder / "cpu").mkdir()
    (folder / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    return folder


def test_without_a_cgroup_the_affinity_counts(tmp_path: Path) -> None:
    assert available(tmp_path) == 8
    assert available(tmp_path / "nowhere") == 8


@pytest.mark.parametrize(
    ("line", "cores"),
    [
        ("max 100000", 8),
        ("400000 100000", 4),
        ("100000 50000", 2),
        ("250000 100000", 2),
        ("100000 100000", 1),
        ("20000 100000", 1),
        ("1600000 100000", 8),
        ("", 8),
    ],
)
def test_the_quota_of_cgroup_v2(tmp_path: Path, line: str, cores: int) -> None:
    assert available(v2(tmp_path, line)) == cores


@pytest.mark.parametrize(("quota", "cores"), [(-1, 8), (300000, 3), (150000, 1), (50000, 1), (6400000, 8)])
def test_the_quota_of_cgroup_v1(tmp_path: Path, quota: int, cores: int) -> None:
    assert available(v1(tmp_path, quota)) == cores


def test_an_affinity_below_the_quota_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    assert available(v2(tmp_path, "400000 100000")) == 1


def test_systems_without_affinity_count_their_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available(tmp_path) == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available(tmp_path) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux alone")
def test_a_thread_steps_back_behind_the_others_and_no_other_does() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def step() -> tuple[int, int]:
        before = niceness()
        cores.step_back()
        return before, niceness()

    mine = niceness()
    with ThreadPoolExecutor(1) as pool:
        before, after = pool.submit(step).result()
    assert after == min(19, before + 3)
    assert niceness() == mine
