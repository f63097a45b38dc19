"""A menu of targets that may be chosen from after looking: certified jointly.

Who picks a target after having seen what it costs has tested many; so each of the m targets of the menu is certified at
delta / m (Bonferroni), and all promises of the menu hold together at confidence 1 - delta. A target that is fixed
before looking needs no such correction: that is what a budget on a request is certified as, on demand.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.errors import ImpossibleBudget
from service.package.curves import Certificate, Curve

TARGETS = {
    "accuracy": (0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
    "agreement": (0.9, 0.95, 0.98, 0.99, 0.995, 0.999),
    "max_drop": (0.001, 0.005, 0.01, 0.02, 0.05),
}


@dataclass(frozen=True, slots=True)
class Menu:
    """Certificates that hold together at `confidence`, and the targets that can't be had, with the reason."""

    confidence: float
    certificates: list[Certificate]
    refused: list[ImpossibleBudget]


def menu(curve: Curve, confidence: float) -> Menu:
    """The menu of a package, jointly certified."""
    wanted = [(kind, target) for kind, targets in TARGETS.items() for target in targets]
    each = 1.0 - (1.0 - confidence) / len(wanted)
    issued: list[Certificate] = []
    refused: list[ImpossibleBudget] = []
    for kind, target in wanted:
        try:
            issued.append(curve.certify(kind, target, each))
        except ImpossibleBudget as error:
            refused.append(error)
    return Menu(confidence, issued, refused)
