"""Findings and the card of packages whose walks are routes: on made-up walks whose figures can be checked by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models import baselines, route_card
from models.card import Text, percent
from models.findings import Share, StaticNet
from models.route_findings import RouteFindings, find
from service.package.load import Package, load
from tests.packages import write_colours

N = 300
MS = {"glance": 1.0, "look": 2.0, "stare": 4.0}
ROUTES = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]], np.uint8)
"""The last is taken by nobody."""


@dataclass(frozen=True)
class Walks:
    """What models.calibration.traverse gives."""

    predictions: NDArray[np.int16]
    exits: NDArray[np.int8]
    macs: NDArray[np.int64]
    routes: NDArray[np.uint8]
    route: NDArray[np.int16]
    answers: NDArray[np.float32]


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return load(write_colours(tmp_path))


@pytest.fixture
def labels() -> NDArray[np.int64]:
    return np.arange(N) % 3


@pytest.fixture
def walks(package: Package, labels: NDArray[np.int64]) -> Walks:
    """Walks of the package's stages: the dearer the price, the fewer samples look and stare; blue ones go on first."""
    prices = len(package.record.prices)
    going = np.where(labels == 2, 0.9, 0.3) * np.random.default_rng(0).random(N)
    levels = np.linspace(-0.01, 1.0, prices)[:, None]
    route = np.where(going > levels * 1.2, 0, np.where(going > levels, 1, 2)).astype(np.int16)
    route[0] = 0
    exits = (2 - route).astype(np.int8)
    wrong = (np.arange(N) % 10 == 0) | (route == 2) & (np.arange(N) % 10 == 1)
    predictions = np.where(wrong, (labels + 1) % 3, labels).astype(np.int16)
    answers = np.full((prices, N, 3), 0.1, np.float32)
    np.put_along_axis(answers, predictions[:, :, None].astype(int), 0.8, axis=2)
    macs = (ROUTES @ np.array(package.graph.macs))[route]
    return Walks(predictions, exits, macs, ROUTES, route, answers)


@pytest.fixture
def findings(package: Package, walks: Walks, labels: NDArray[np.int64]) -> RouteFindings:
    fixed = [StaticNet("only glance", 1_000_000, Share(200, N), MS["glance"])]
    return find(package, walks, labels, [StaticNet("static", 4_000_000, Share(225, N))], MS, fixed)


def test_prices_have_macs_time_and_calibration(findings: RouteFindings) -> None:
    full, cheapest = findings.prices[0], findings.prices[-1]
    assert (full.mean_macs, full.mean_ms) == (8e6, 7.0)
    assert (full.accuracy.k, full.agreement.k) == (270, N)
    assert (cheapest.mean_macs, cheapest.mean_ms, cheapest.distinct_routes) == (1e6, 1.0, 1)
    assert cheapest.accuracy.k == 240
    assert full.calibration_error == pytest.approx(0.1, abs=1e-6)
    assert cheapest.calibration_error == pytest.approx(0.0, abs=1e-6)


def test_decisions_show_the_spread_over_inputs(findings: RouteFindings, walks: Walks) -> None:
    default, cheaper = findings.uses
    assert [decision.stage for decision in default.decisions] == ["look", "stare"]
    look = cheaper.decisions[0]
    ran = ROUTES[walks.route[cheaper.point], 1]
    assert look.rate == pytest.approx(ran.mean())
    assert look.by_class == pytest.approx([ran[place::3].mean() for place in range(3)])
    assert look.variance == pytest.approx(ran.var())
    assert look.class_share == pytest.approx(np.var(look.by_class) / ran.var())
    assert look.class_share > 0.1
    assert not look.constant


def test_a_constant_gate_is_called_so(package: Package, walks: Walks, labels: NDArray[np.int64]) -> None:
    route = np.full_like(walks.route, 1)
    route[0], route[-1] = 0, 2
    found = find(package, replace(walks, route=route), labels, [], MS)
    use = found.uses[1]
    assert use.distinct == 1
    assert use.entropy == 0
    assert [decision.constant for decision in use.decisions] == [True, True]
    assert [decision.class_share for decision in use.decisions] == [0.0, 0.0]
    assert "static pruning" in "\n".join(route_card.sections(found))


def test_routes_are_counted(findings: RouteFindings, walks: Walks) -> None:
    use = findings.uses[1]
    taken = np.bincount(walks.route[use.point], minlength=4)
    assert use.top[0].share == Share(int(taken.max()), N)
    assert {route.stages for route in use.top} <= {("look", "stare"), ("look",), ()}
    assert sum(route.share.k for route in use.top) == N
    assert use.rest.k == 0
    shares = taken[taken > 0] / N
    assert use.entropy == pytest.approx(-(shares * np.log2(shares)).sum())


def test_the_failing_case_is_one(findings: RouteFindings, walks: Walks, labels: NDArray[np.int64]) -> None:
    row = findings.failing
    assert walks.predictions[findings.default, row] != labels[row]
    assert findings.case.row == row
    assert findings.case.answer != findings.case.label
    assert findings.case.score == pytest.approx(0.8)


def test_scores_serve_where_answers_are_too_large(
    package: Package, walks: Walks, labels: NDArray[np.int64], findings: RouteFindings
) -> None:
    scores = replace(walks, answers=walks.answers.max(axis=2))
    assert find(package, scores, labels, [], MS).prices == findings.prices


def test_walks_at_other_prices_are_refused(package: Package, walks: Walks, labels: NDArray[np.int64]) -> None:
    with pytest.raises(ValueError, match="prices"):
        find(package, replace(walks, predictions=walks.predictions[1:]), labels, [], MS)


def test_the_card_shows_what_was_found(findings: RouteFindings, tmp_path: Path) -> None:
    text = Text("colours", "intro", "data", "training", "limits", "More words.")
    route_card.write(findings, text, tmp_path, np.zeros((8, 8, 3), np.uint8))
    card = (tmp_path / "README.md").read_text()
    full = findings.prices[0]
    assert f"| full | 8.0 | 1.000 | {percent(full.accuracy)} | 100.00 | 7.00 | 10.0 | 1 | 0 / 0 / 100 |" in card
    assert "(default)" in card
    assert "| only glance: 1.0 | 66.67" in card
    assert "| static: 4.0 | 75.00" in card
    assert "| look, stare | 8.0 |" in card
    assert "More words." in card
    assert len(route_card.price_table(findings).splitlines()) - 2 >= 8
    pictures = ("curve.png", "routes.png", "failing_case.png")
    assert all((tmp_path / name).stat().st_size > 500 for name in pictures)


def test_prices_shown_are_spread_over_the_path(findings: RouteFindings) -> None:
    shown = route_card.spread(findings.prices, findings.default)
    assert shown[0] is findings.prices[0]
    assert findings.prices[findings.default] in shown
    assert shown[-1] is findings.prices[-1]
    same: Any = tuple(replace(point, mean_macs=1.0) for point in findings.prices)
    assert len(route_card.spread(same, findings.default)) <= 3


def test_shipped_static_nets_are_those_of_the_card(zoo: Path) -> None:
    card = (zoo / "cifar10-early-exit" / "README.md").read_text()
    for net in baselines.cifar10():
        assert f"| {net.name}: {net.macs / 1e6:.1f} | {percent(net.accuracy)} |" in card
