"""Findings and the model card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.calibration.walks import ExitAnswers
from models.card import Text, percent, table, write_card
from models.findings import Findings, Share, StaticNet, at_macs, find
from models.plots import plot_curve, plot_image
from service.package.load import load
from tests.packages import write_colours


def test_wilson_interval() -> None:
    low, high = Share(90, 100).interval
    assert (low, high) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert percent(Share(90, 100)) == "90.00 (82.6 to 94.5)"


def test_no_failures_leave_an_interval_of_some_width() -> None:
    assert Share(10, 10).interval == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_table() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


@pytest.fixture
def findings(tmp_path: Path) -> Findings:
    """Of the test package, on answers drawn at random: later exits are right more often."""
    package = load(write_colours(tmp_path))
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=400)
    logits = rng.normal(0, 1, (3, 400, 3)).astype(np.float32)
    for place in range(3):
        logits[place, np.arange(400), labels] += place + 1
    answers = ExitAnswers.of(logits, np.ones(3, np.float32), labels)
    return find(package, answers, [StaticNet("static4", 4_000_000, Share(300, 400))])


def test_findings_hold_the_exits_and_both_ends_of_the_path(findings: Findings) -> None:
    assert [exit_.macs for exit_ in findings.exits] == [1_000_000, 3_000_000, 8_000_000]
    full, cheapest = findings.prices[0], findings.prices[-1]
    assert full.mean_macs == findings.full_macs
    assert full.agreement.value == 1
    assert full.accuracy == findings.exits[-1].accuracy
    assert cheapest.accuracy == findings.exits[0].accuracy
    assert at_macs(findings.prices, cheapest.mean_macs) == pytest.approx(cheapest.accuracy.value)
    assert at_macs(findings.prices, cheapest.mean_macs - 1) is None


def test_the_crossing_is_where_static_nets_stop_winning(findings: Findings) -> None:
    first, last = findings.exits[0], findings.exits[-1]
    weak, strong = Share(1, 400), Share(399, 400)
    ends = (first.macs, last.macs)
    losing, winning = ([StaticNet("net", macs, share) for macs in ends] for share in (strong, weak))
    assert replace(findings, statics=tuple(losing)).crossing() is None
    assert replace(findings, statics=tuple(winning)).crossing() == first.macs
    mixed = (StaticNet("small", first.macs, strong), StaticNet("large", last.macs, weak))
    crossing = replace(findings, statics=mixed).crossing()
    assert crossing is not None
    assert first.macs < crossing < last.macs


def test_the_card_shows_what_was_found(findings: Findings, tmp_path: Path) -> None:
    text = Text("colours", "intro", "data", "training", "limits", "failing")
    write_card(findings, text, tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert f"| last | 8.0 | 1.000 | {percent(findings.exits[-1].accuracy)} |" in card
    assert "| static4: 4.0 | 75.00 (70.5 to 79.0) |" in card
    assert "| full | 8.0 | 1.000 |" in card
    assert "(default)" in card


def test_pictures_are_written(findings: Findings, tmp_path: Path) -> None:
    plot_curve(findings, tmp_path / "curve.png")
    plot_image(np.zeros((32, 32, 3), np.uint8), tmp_path / "image.png")
    assert all((tmp_path / name).stat().st_size > 500 for name in ("curve.png", "image.png"))
