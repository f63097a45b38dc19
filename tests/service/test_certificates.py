"""What a package promises, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from service.api.schemas import CertificateList
from tests.service.wire import CLIENT, answer, post, problem

PATH = "/v1/models/colours/certificates"


def certificates(url: str, query: str = "") -> dict[str, Any]:
    found = answer(CLIENT.get(f"{url}{PATH}{query}"))
    CertificateList.model_validate_json(CLIENT.get(f"{url}{PATH}{query}").content)
    return found


def test_the_menu_holds_jointly(colours_server: str) -> None:
    menu = certificates(colours_server)
    assert menu["joint"]
    assert menu["confidence"] == 0.95
    offered = len(menu["certificates"]) + len(menu["refused"])
    assert offered == 17
    for issued in menu["certificates"]:
        assert 1 - issued["confidence"] == pytest.approx(0.05 / offered)


def test_a_stricter_target_never_costs_less(colours_server: str) -> None:
    menu = certificates(colours_server)["certificates"]
    for kind in ("accuracy", "agreement"):
        costs = [one["mean_mmacs"] for one in menu if one["kind"] == kind]
        assert costs == sorted(costs)
        assert len(costs) > 1


def test_one_target_on_demand_is_what_a_budget_is_served_under(colours_server: str) -> None:
    (one,) = certificates(colours_server, "?kind=agreement&target=0.97&confidence=0.9")["certificates"]
    shown = answer(post(colours_server, params={"agreement": 0.97, "confidence": 0.9}))
    assert shown["budget"]["certificate"] == one["id"]
    assert shown["budget"]["price"] == one["price"]


def test_refused_targets_name_the_best_that_can_be_had(colours_server: str) -> None:
    refused = problem(CLIENT.get(f"{colours_server}{PATH}?kind=accuracy&target=0.9999"), 422)
    assert certificates(colours_server, f"?kind=accuracy&target={refused['best']}")["certificates"]


@pytest.mark.parametrize(
    "query", ["?kind=agreement", "?target=0.9", "?kind=speed&target=1", "?kind=accuracy&target=2", "?confidence=1"]
)
def test_a_question_that_makes_no_sense_is_refused(colours_server: str, query: str) -> None:
    problem(CLIENT.get(f"{colours_server}{PATH}{query}"), 400)
