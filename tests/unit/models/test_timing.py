"""Measured time of stages: that every stage has one, not how long it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import timing
from service.package.load import load
from tests.packages import STAGES, write_colours


def test_every_stage_is_measured_and_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_colours(tmp_path)
    timing.main([str(folder), str(tmp_path / "ms.json")])
    found = timing.read(tmp_path / "ms.json")
    assert tuple(found) == STAGES
    assert all(ms > 0 for ms in found.values())
    assert "glance" in capsys.readouterr().out


def test_batches_are_measured_as_well(tmp_path: Path) -> None:
    assert len(timing.stage_ms(load(write_colours(tmp_path)), rounds=3, rows=7)) == len(STAGES)
