"""What is refined, at which price: the most doubtful parts, each only where it is worth its MACs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.core import CHEAPEST, FULL
from service.errors import PackageError
from service.package.graph import StageGraph
from service.package.manifest import Stage
from service.routing.base import LEAVE, Routing
from service.routing.refine import Refine

PARTS = 6
TILE, PASTE, POINT = 2_000_000, 5_000_000, 500_000
EDGES = np.array([[0.0, 0.1, 0.3, 1.0]], np.float32)
GAIN = np.array([[0.0, 0.01, 0.05]], np.float32)
DIGEST = "0" * 64


def stages() -> tuple[Stage, ...]:
    glimpse = {"glimpse": "image", "height": 4, "width": 4}
    crop = {"glimpse": "crop", "height": 4, "width": 4}
    coarse = {"answer": "answer", "doubt": "state", "places": "state", "score": "state", "told": "state"}
    plain: list[dict[str, Any]] = [
        {"name": "coarse", "inputs": {"image": glimpse}, "outputs": coarse, "exit": "coarse", "next": ["tile"]},
        {
            "name": "tile",
            "ragged": PARTS,
            "inputs": {"window": crop, "told": "rows"},
            "outputs": {"change": "rows"},
            "next": ["paste"],
        },
        {
            "name": "paste",
            "inputs": {"change": "state"},
            "outputs": {"answer": "answer", "score": "state"},
            "exit": "refined",
        },
    ]
    macs = (1_000_000, TILE, PASTE)
    return tuple(
        Stage.model_validate({"graph": "g.onnx", "sha256": DIGEST, "macs_per_row": cost, **one})
        for cost, one in zip(macs, plain, strict=True)
    )


def two_levels(*after: str) -> tuple[Stage, ...]:
    """The same with points behind the tiles, which take no glimpse; the coarse stage leads to `after`."""
    coarse, tile, paste = stages()
    told = {"doubt_points": "state", "places_points": "state", "spots": "state"}
    point = {"name": "point", "ragged": PARTS, "inputs": {"spots": "rows"}, "outputs": {"dots": "rows"}}
    place = {"name": "place", "inputs": {"dots": "state"}, "outputs": {"answer": "answer", "score": "state"}}
    more = [
        Stage.model_validate({"graph": "g.onnx", "sha256": DIGEST, "macs_per_row": cost, **one})
        for cost, one in ((POINT, point | {"next": ["place"]}), (0, place | {"exit": "points"}))
    ]
    pasted = paste.model_copy(update={"outputs": {**paste.outputs, **told}, "next": ("point",)})
    return (coarse.model_copy(update={"next": after}), tile, pasted, *more)


def router(made: tuple[Stage, ...] | None = None, **tables: NDArray[np.float32] | None) -> Refine:
    made = made or stages()
    manifest = SimpleNamespace(stages=made, calibration=SimpleNamespace(file="calibration.npz"))
    held = {"doubt_edges": EDGES, "doubt_gain": GAIN} | tables
    package = SimpleNamespace(path=_Path(), manifest=manifest, graph=StageGraph.of(made), tables=held)
    return Refine(package)  # type: ignore[arg-type]


class _Path:
    def __truediv__(self, name: str) -> str:
        return name


FINER = {"doubt_edges": EDGES.repeat(2, axis=0), "doubt_gain": np.concatenate([GAIN, GAIN])}


def coarse(doubt: NDArray[np.floating], price: float, refine: Refine | None = None) -> Routing:
    rows = len(doubt)
    outputs = {
        "answer": np.zeros((rows, 2, 4, 4), np.float32),
        "doubt": doubt.astype(np.float32),
        "places": np.arange(rows * PARTS * 4, dtype=np.float32).reshape(rows, PARTS, 4),
        "score": np.full((rows, 1), 0.8, np.float32),
    }
    return (refine or router()).route(0, outputs, np.full(rows, price))


MIXED = np.array([[0.0, 0.5, 0.2, 0.4, 0.05, 0.9]])


def test_at_full_everything_is_refined_the_most_doubtful_first() -> None:
    routing = coarse(MIXED, FULL)
    assert routing.next.tolist() == [1]
    assert routing.picks is not None
    assert routing.picks[0].tolist() == [5, 1, 3, 2, 4, 0]
    assert routing.look is not None
    assert routing.look[0][0].tolist() == [20, 21, 22, 23]


def test_parts_are_refined_that_are_worth_more_than_their_macs() -> None:
    # 0.05 for 2 MMACs is 25 a GMAC, 0.01 is 5.
    assert [pick.tolist() for pick in coarse(MIXED, 4.0).picks or []] == [[5, 1, 3, 2]]
    assert [pick.tolist() for pick in coarse(MIXED, 6.0).picks or []] == [[5, 1, 3]]


def test_who_has_nothing_worth_the_putting_in_place_leaves() -> None:
    routing = coarse(np.concatenate([MIXED, np.full((1, PARTS), 0.2)]), 6.0)
    assert routing.next.tolist() == [1, LEAVE]
    assert routing.worth is not None
    assert routing.worth.tolist() == pytest.approx([0.15 / 0.011, 0.06 / 0.017])
    assert coarse(MIXED, CHEAPEST).next.tolist() == [LEAVE]
    assert coarse(np.zeros((1, PARTS)), 0.0).next.tolist() == [LEAVE]


def test_the_last_exit_is_left() -> None:
    outputs = {"answer": np.zeros((2, 2, 4, 4), np.float32), "score": np.full((2, 1), 0.9, np.float32)}
    routing = router().route(2, outputs, np.zeros(2))
    assert (routing.next.tolist(), routing.worth.tolist()) == ([LEAVE] * 2, [-np.inf] * 2)  # type: ignore[union-attr]


@given(st.integers(0, 2**32 - 1), st.floats(0, 40), st.floats(0, 40))
def test_a_higher_price_never_refines_more(seed: int, one: float, other: float) -> None:
    doubt = np.random.default_rng(seed).random((3, PARTS))
    counts = []
    for price in (FULL, min(one, other), max(one, other), CHEAPEST):
        routing = coarse(doubt, price)
        assert routing.worth is not None
        assert ((routing.next == LEAVE) == ((routing.worth <= price) & (price != FULL))).all()
        counts.append([0 if pick is None else len(pick) for pick in routing.picks or []])
    assert (np.diff(counts, axis=0) <= 0).all()


@pytest.mark.parametrize(
    ("name", "table"),
    [("doubt_gain", None), ("doubt_gain", GAIN[:, ::-1]), ("doubt_gain", -GAIN), ("doubt_edges", EDGES[:, :3])],
)
def test_tables_that_dont_fit_are_refused(name: str, table: NDArray[np.float32] | None) -> None:
    with pytest.raises(PackageError, match="doubt_gain"):
        router(**{name: table})


def test_points_are_picked_behind_the_tiles_and_told_of_without_a_look() -> None:
    outputs = {
        "answer": np.zeros((1, 2, 4, 4), np.float32),
        "doubt_points": MIXED.astype(np.float32),
        "places_points": np.arange(PARTS * 8, dtype=np.float32).reshape(1, PARTS, 8),
        "score": np.full((1, 1), 0.8, np.float32),
    }
    routing = router(two_levels("tile"), **FINER).route(2, outputs, np.array([24.0]))
    assert routing.next.tolist() == [3]
    assert routing.picks is not None
    assert routing.look is not None
    # 0.01 for 0.5 MMACs is 20 a GMAC, 0.05 is 100.
    assert routing.picks[0].tolist() == [5, 1, 3]
    assert routing.look[0][0].tolist() == list(range(40, 48))  # type: ignore[index]


def test_coarser_parts_are_passed_by_where_only_finer_ones_may_pay() -> None:
    passing, stopping = router(two_levels("tile", "paste"), **FINER), router(two_levels("tile"), **FINER)
    for price, there in ((6.0, 1), (50.0, 2), (101.0, LEAVE), (CHEAPEST, LEAVE)):
        routing = coarse(MIXED, price, passing)
        assert routing.next.tolist() == [there]
        assert routing.worth is not None
        assert routing.worth.tolist() == pytest.approx([0.05 / 0.0005])
        assert (routing.picks is not None and routing.picks[0] is not None) == (there == 1)
    assert coarse(MIXED, 50.0, stopping).next.tolist() == [LEAVE]
    assert coarse(np.zeros((1, PARTS)), FULL, passing).next.tolist() == [1]


def test_a_stage_may_only_pass_by_to_the_stage_behind() -> None:
    with pytest.raises(PackageError, match="elsewhere"):
        router(two_levels("tile", "place"), **FINER)
    with pytest.raises(PackageError, match="elsewhere"):
        router((stages()[0].model_copy(update={"next": ("tile", "paste")}), *stages()[1:]))
