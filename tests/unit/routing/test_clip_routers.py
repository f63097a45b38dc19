"""The routers that read clips: which moments, in which order, and when they stop; on made-up stage outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.core import CHEAPEST, FULL
from service.errors import PackageError
from service.package.graph import StageGraph
from service.package.load import Package, load
from service.package.manifest import Manifest
from service.routing.agent import Agent
from service.routing.base import LEAVE, Router, build
from service.routing.frames import Frames
from service.routing.hierarchical import Hierarchical
from service.routing.keyframes import Keyframes, picked
from service.routing.moments import coarse_to_fine, moments

LAPS = 4
FRAME = {"glimpse": "frame", "height": 8, "width": 8, "at": [0.5]}
Arrays = dict[str, NDArray[Any]]


def stage(
    name: str,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    after: list[str],
    *,
    macs: int = 1,
    ragged: int = 0,
) -> dict[str, Any]:
    answers = "answer" in outputs.values()
    made = {
        "name": name,
        "graph": "glance.onnx",
        "sha256": "0" * 64,
        "macs_per_row": macs * 1_000_000,
        "inputs": dict(inputs),
        "outputs": dict(outputs),
        "exit": f"{name}-exit" if answers else None,
        "next": after,
    }
    return made | ({"ragged": ragged} if ragged else {})


SEE = stage("see", {"frame": FRAME}, {"features": "state"}, ["pool"], macs=100)
STAGES = {
    "frames": [
        stage("peek", {"thumb": FRAME}, {"novelty": "state"}, ["see", "peek"]),
        SEE,
        stage("pool", {"features": "state"}, {"logits": "answer"}, ["peek"]),
    ],
    "agent": [
        stage("scan", {"thumbs": FRAME}, {"where": "state"}, ["see"]),
        SEE | {"next": ["think"]},
        stage("think", {"features": "state"}, {"where": "state", "settled": "state", "logits": "answer"}, ["see"]),
    ],
    "hierarchical": [
        stage("coarse", {"small": FRAME}, {"ask": "state", "logits": "answer"}, ["see", "coarse"], macs=10),
        SEE | {"next": ["merge"]},
        stage("merge", {"features": "state"}, {"logits": "answer"}, ["coarse"]),
    ],
    "keyframes": [
        stage("scan", {"thumbs": FRAME}, {"share": "state"}, ["see"]),
        stage("see", {"frame": FRAME}, {"features": {"rows": "seen"}}, ["assemble"], macs=100, ragged=LAPS),
        stage("assemble", {"seen": "state"}, {"logits": "answer"}, []),
    ],
}
KNOBS = {
    "frames": ([-np.inf, 0.5, 2.0], [0.0, 0.3, 0.6]),
    "hierarchical": ([-np.inf, 0.5, 2.0], [0.0, 0.3, 0.6]),
    "keyframes": ([-np.inf, 0.5, 2.0], [1.01, 0.6, 0.0]),
}


@pytest.fixture(scope="module")
def package(colours: Path) -> Package:
    return load(colours)


def made(package: Package, router: str, tables: Mapping[str, Any] | None = None) -> Package:
    """The package with that router's stages, whatever its graphs are: routers see none of them."""
    loop = {} if router == "keyframes" else {"laps": LAPS}
    content = package.manifest.model_dump(exclude={"stages", "router"}) | loop
    content |= {"modality": "video", "stages": STAGES[router], "router": {"name": router}, "zeros": ["seen"]}
    manifest = Manifest.model_validate(content)
    graph = StageGraph.of(manifest.stages, manifest.laps)
    exits = len(graph.exits)
    found: dict[str, Any] = {"temperature": np.ones(exits, np.float32)}
    if router in KNOBS:
        prices, knobs = KNOBS[router]
        found |= {"knob_prices": np.array(prices), "knobs": np.array(knobs, np.float32)}
    if router != "keyframes":
        gain = np.zeros((exits - 1, exits, 2), np.float32)
        for here in range(exits - 1):
            gain[here, here + 1 :, 0] = 0.1  # below the middle score reading on helps, above it doesn't
        found |= {
            "gain_edges": np.tile(np.array([0.0, 0.7, 1.0], np.float32), (exits - 1, 1)),
            "gain": gain,
            "exit_macs": np.arange(1, exits + 1) * 100_000_000,
        }
    return dataclasses.replace(package, manifest=manifest, graph=graph, tables=found | dict(tables or {}))


def logits(*chances: float) -> NDArray[np.float32]:
    """Of three classes, the first of which has that probability: float32 [rows, 3]."""
    share = np.array(chances)
    return np.log(np.stack([share, (1 - share) / 2, (1 - share) / 2], axis=1)).astype(np.float32)


def place(found: Package, name: str) -> int:
    return found.graph.names.index(name)


@given(st.integers(1, 40))
def test_coarse_to_fine_names_each_moment_once(count: int) -> None:
    assert sorted(coarse_to_fine(count)) == list(range(count))


def test_the_middle_comes_first_then_the_ends() -> None:
    assert coarse_to_fine(16)[:5] == (7, 0, 15, 11, 3)
    assert moments(4)[:, 0].tolist() == [0.125, 0.375, 0.625, 0.875]


@pytest.mark.parametrize(
    ("name", "kind"), [("frames", Frames), ("agent", Agent), ("keyframes", Keyframes), ("hierarchical", Hierarchical)]
)
def test_packages_name_them(package: Package, name: str, kind: type[Router]) -> None:
    assert isinstance(build(made(package, name)), kind)


def test_frames_stop_where_reading_on_is_not_worth_its_price(package: Package) -> None:
    found = made(package, "frames")
    said = build(found).route(
        place(found, "pool1"), {"logits": logits(0.5, 0.9, 0.5, 0.9)}, np.array([0.0, 0.0, 9.0, FULL])
    )
    assert said.next.tolist() == [place(found, "peek2"), LEAVE, LEAVE, place(found, "peek2")]
    assert said.worth is not None
    assert said.worth.tolist() == pytest.approx([1.0, 0.0, 1.0, 0.0])
    assert said.look is not None
    assert [look.tolist() for look in said.look if look is not None] == [[[0.125]]] * 4, "the second of 1, 0, 3, 2"


def test_the_last_lap_leaves_at_any_price(package: Package) -> None:
    found = made(package, "frames")
    said = build(found).route(place(found, "pool4"), {"logits": logits(0.5)}, np.array([FULL]))
    assert said.next.tolist() == [LEAVE]
    assert said.worth is not None
    assert said.worth.tolist() == [-np.inf]


def test_a_frame_that_is_not_new_is_skipped_and_the_next_one_looked_at(package: Package) -> None:
    found = made(package, "frames")
    novelty = np.array([[0.1], [0.4], [0.1]], np.float32)
    said = build(found).route(place(found, "peek2"), {"novelty": novelty}, np.array([1.0, 1.0, FULL]))
    assert said.next.tolist() == [place(found, "peek3"), place(found, "see2"), place(found, "see2")]
    assert said.look is not None
    assert [float(look[0, 0]) for look in said.look if look is not None] == [0.875, 0.125, 0.125]


def test_the_first_moment_and_the_last_are_never_skipped(package: Package) -> None:
    found, nothing = made(package, "frames"), {"novelty": np.zeros((1, 1), np.float32)}
    for lap in (1, LAPS):
        said = build(found).route(place(found, f"peek{lap}"), nothing, np.array([CHEAPEST]))
        assert said.next.tolist() == [place(found, f"see{lap}")]


def test_the_agent_looks_where_its_state_says_and_stops_when_settled(package: Package) -> None:
    found = made(package, "agent")
    router = build(found)
    where = np.array([[0, 3, 1, 2], [9, 0, 0, 0]], np.float32)
    first = router.route(place(found, "scan"), {"where": where}, np.array([0.0, 0.0]))
    assert first.next.tolist() == [place(found, "see1")] * 2
    assert first.look is not None
    assert [float(look[0, 0]) for look in first.look if look is not None] == [0.375, 0.125]
    told: Arrays = {"where": where, "settled": np.array([[0.2], [0.9]], np.float32), "logits": logits(0.99, 0.4)}
    said = router.route(place(found, "think1"), told, np.array([0.1, 0.1]))
    assert said.next.tolist() == [place(found, "see2"), LEAVE], "by its utility, not by the answer's score"


def test_key_frames_are_taken_until_their_shares_are_enough(package: Package) -> None:
    found = made(package, "keyframes")
    share = np.array([[0.1, 0.5, 0.1, 0.3]] * 3, np.float32)
    said = build(found).route(place(found, "scan"), {"share": share}, np.array([FULL, 1.0, CHEAPEST]))
    assert said.picks is not None
    assert said.look is not None
    assert [picks.tolist() for picks in said.picks if picks is not None] == [[1, 3, 0, 2], [1, 3], [1]]
    assert [look[:, 0].tolist() for look in said.look if look is not None] == [
        [0.375, 0.875, 0.125, 0.625],
        [0.375, 0.875],
        [0.375],
    ]
    done = build(found).route(place(found, "assemble"), {"logits": logits(0.5)}, np.array([FULL]))
    assert done.next.tolist() == [LEAVE]


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=16), st.floats(0, 1), st.floats(0, 1))
def test_asking_for_more_never_picks_fewer(weights: list[float], one: float, other: float) -> None:
    share = np.array([weights], np.float32) / np.float32(sum(weights))
    few, many = (picked(share, np.array([enough], np.float32))[0] for enough in sorted((one, other)))
    assert 1 <= len(few) <= len(many)
    assert many[: len(few)].tolist() == few.tolist()


def test_the_gate_asks_for_the_fine_network(package: Package) -> None:
    found = made(package, "hierarchical")
    told: Arrays = {"ask": np.array([[0.1], [0.5], [0.1], [0.5]], np.float32), "logits": logits(0.5, 0.5, 0.5, 0.9)}
    said = build(found).route(place(found, "coarse1"), told, np.array([0.6, 0.6, FULL, 0.6]))
    coarse2, see1 = place(found, "coarse2"), place(found, "see1")
    assert said.next.tolist() == [coarse2, see1, see1, LEAVE]
    assert said.look is not None
    assert [float(look[0, 0]) for look in said.look[:3] if look is not None] == [0.125, 0.375, 0.375]
    last = build(found).route(place(found, "coarse4"), told, np.array([0.6, 0.6, FULL, 0.6]))
    assert last.next.tolist() == [place(found, "see4")] * 3 + [LEAVE]


@pytest.mark.parametrize(
    ("router", "tables", "named"),
    [
        ("frames", {"gain": np.zeros((2, 3, 1), np.float32)}, "gain"),
        ("frames", {"knobs": np.array([0.0], np.float32)}, "knobs"),
        ("agent", {"temperature": np.zeros(LAPS, np.float32)}, "temperature"),
        ("keyframes", {"knobs": np.array([0.5, 0.6, 0.0], np.float32)}, "knobs"),
        ("keyframes", {"temperature": np.zeros(1, np.float32)}, "temperature"),
    ],
)
def test_tables_that_do_not_fit_are_refused(package: Package, router: str, tables: Arrays, named: str) -> None:
    with pytest.raises(PackageError, match=named):
        build(made(package, router, tables))


@pytest.mark.parametrize(("router", "other"), [("frames", "agent"), ("agent", "frames"), ("hierarchical", "frames")])
def test_stages_of_another_family_are_refused(package: Package, router: str, other: str) -> None:
    found = made(package, other)
    wrong = found.manifest.model_copy(update={"router": found.manifest.router.model_copy(update={"name": router})})
    with pytest.raises(PackageError, match="router"):
        build(dataclasses.replace(found, manifest=wrong))
