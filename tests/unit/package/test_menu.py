"""The menu: every target at delta / m, so that all hold together."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.package.curves import Curve
from service.package.load import load
from service.package.menu import TARGETS, menu


@pytest.fixture(scope="module")
def curve(colours: Path) -> Curve:
    package = load(colours)
    return Curve(package.record, package.graph.full_macs, package.digest, "CPUExecutionProvider")


def test_every_target_is_certified_or_refused(curve: Curve) -> None:
    offered = menu(curve, 0.95)
    wanted = {(kind, target) for kind, targets in TARGETS.items() for target in targets}
    issued = {(one.kind, one.target) for one in offered.certificates}
    refused = {(one.extra["budget"], one.extra["asked"]) for one in offered.refused}
    assert issued | refused == wanted
    assert not issued & refused


def test_a_joint_promise_costs_no_less_than_a_single_one(curve: Curve) -> None:
    offered = menu(curve, 0.95)
    for joint in offered.certificates:
        alone = curve.certify(joint.kind, joint.target, 0.95)
        assert joint.confidence > 0.95
        assert joint.price <= alone.price
    assert any(joint.price < curve.certify(joint.kind, joint.target, 0.95).price for joint in offered.certificates)
