"""Real sessions on a real package: rows never mix, and a graph that isn't what its manifest says is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from service.core import CHEAPEST, FULL, NEVER, Terms, Walker
from service.errors import PackageError, SettingsError
from service.package.load import Package, load
from service.runtime.onnx import (
    ModelSessions,
    OnnxRunner,
    StageSession,
    check_install,
    open_lanes,
    open_stages,
    state_shapes,
)
from service.runtime.states import StatePool
from tests.packages import LABELS, MACS, STAGES, all_logits, pictures, write_colours

CAPACITY, MAX_ROWS = 16, 8
TERMS = Terms(FULL, CHEAPEST, NEVER, sum(MACS), 0.0)


@pytest.fixture(scope="module")
def package(colours: Path) -> Package:
    return load(colours)


@pytest.fixture(scope="module")
def pool(package: Package) -> StatePool:
    return StatePool(CAPACITY, state_shapes(opened(package)))


@pytest.fixture(scope="module")
def sessions(package: Package, pool: StatePool) -> ModelSessions:
    return sessions_of(package, pool)


def sessions_of(package: Package, pool: StatePool | None = None, *, device: str = "cpu") -> ModelSessions:
    stages = opened(package, device=device)
    return ModelSessions(package, stages, pool or StatePool(CAPACITY, state_shapes(stages)))


def opened(package: Package, *, device: str = "cpu") -> list[StageSession]:
    return open_stages(package, device=device, threads=1, max_rows=MAX_ROWS)


def walkers_of(images: NDArray[np.uint8], slots: Sequence[int]) -> list[Walker]:
    pairs = zip(images, slots, strict=True)
    return [Walker("colours", TERMS, 0.0, {"image": image}, lambda *_: None, slot=slot) for image, slot in pairs]


def walk(lanes: Sequence[ModelSessions], walkers: Sequence[Walker]) -> NDArray[np.float32]:
    """The logits of all stages, run together, each stage on its lane: float32 [exits, rows, classes]."""
    logits = []
    for place, lane in enumerate(lanes):
        logits.append(lane.run(place, walkers)[f"logits{place}"].copy())
        lane.keep(place, walkers, range(len(walkers)))
    return np.stack(logits)


@pytest.mark.parametrize("slots", [[3], [0, 1], [6, 2], [0, 1, 2, 3, 4, 5, 6], [15, 0, 9, 4, 7, 1, 12]])
def test_rows_of_a_batch_are_the_same_rows_alone(sessions: ModelSessions, slots: list[int]) -> None:
    images, _ = pictures(len(slots), seed=len(slots))
    together = walk([sessions] * len(STAGES), walkers_of(images, slots))
    alone = [walk([sessions] * len(STAGES), walkers_of(images[[row]], [slot])) for row, slot in enumerate(slots)]
    np.testing.assert_allclose(together, np.concatenate(alone, axis=1), rtol=1e-6)
    np.testing.assert_allclose(together, all_logits(images), rtol=1e-6)


def test_walkers_of_different_batches_meet_at_a_stage_in_any_order(sessions: ModelSessions) -> None:
    images, _ = pictures(5, seed=5)
    walkers = walkers_of(images, [8, 2, 5, 11, 0])
    for batch in (walkers[:3], walkers[3:]):
        sessions.run(0, batch)
        sessions.keep(0, batch, range(len(batch)))
    order = [4, 1, 3, 0]
    logits = sessions.run(1, [walkers[row] for row in order])["logits1"]
    np.testing.assert_allclose(logits, all_logits(images[order])[1], rtol=1e-6)


def test_lanes_share_the_state(package: Package, pool: StatePool, sessions: ModelSessions) -> None:
    images, _ = pictures(4, seed=4)
    other = sessions_of(package, pool)
    logits = walk([sessions, other, sessions], walkers_of(images, [1, 3, 5, 7]))
    np.testing.assert_allclose(logits, all_logits(images), rtol=1e-6)


def test_only_the_rows_that_go_on_are_kept(sessions: ModelSessions, pool: StatePool) -> None:
    images, _ = pictures(3, seed=3)
    walkers = walkers_of(images, [4, 5, 6])
    pool.tensors["rows"][4:8] = -1.0
    made = sessions.run(0, walkers)["rows"].copy()
    sessions.keep(0, walkers, [2, 0])
    kept = pool.tensors["rows"]
    assert np.array_equal(kept[[4, 6]], made[[0, 2]])
    assert np.all(kept[[5, 7]] == -1.0)


def test_a_small_batch_shows_nothing_of_the_large_one_before(sessions: ModelSessions) -> None:
    images, _ = pictures(MAX_ROWS, seed=8)
    sessions.run(0, walkers_of(images, range(MAX_ROWS)))
    outputs = sessions.run(0, walkers_of(images[5:7], [1, 2]))
    assert {array.shape[0] for array in outputs.values()} == {2}
    np.testing.assert_allclose(outputs["logits0"], all_logits(images[5:7])[0], rtol=1e-6)


@pytest.mark.parametrize("stage", [0, 1])
def test_a_batch_beyond_the_buffers_is_refused(sessions: ModelSessions, stage: int) -> None:
    images, _ = pictures(MAX_ROWS + 1, seed=9)
    with pytest.raises((ValueError, IndexError)):
        sessions.run(stage, walkers_of(images, range(MAX_ROWS + 1)))


@pytest.mark.parametrize("rows", [0, -1, MAX_ROWS + 1])
def test_buffers_have_their_rows_and_no_more(package: Package, rows: int) -> None:
    session = opened(package)[0]
    with pytest.raises(ValueError, match=f"{rows} rows for buffers of {MAX_ROWS}"):
        session.run(rows)


def test_lanes_of_one_thread_share_sessions_and_run_them_at_once(package: Package) -> None:
    first, second = open_lanes(package, device="cpu", threads=1, max_rows=MAX_ROWS, lanes=2)
    assert all(mine._session is other._session for mine, other in zip(first, second, strict=True))
    images, _ = pictures(2 * MAX_ROWS, seed=31)
    lanes = [ModelSessions(package, stages, StatePool(CAPACITY, state_shapes(stages))) for stages in (first, second)]
    batches = [walkers_of(half, range(MAX_ROWS)) for half in (images[:MAX_ROWS], images[MAX_ROWS:])]

    def often(place: int) -> NDArray[np.float32]:
        told = [lanes[place].run(0, batches[place])["logits0"].copy() for _ in range(200)]
        return np.stack(told)

    with ThreadPoolExecutor(2) as threads:
        for place, told in enumerate(threads.map(often, range(2))):
            expected = all_logits(images[place * MAX_ROWS : (place + 1) * MAX_ROWS])[0]
            np.testing.assert_allclose(told, np.broadcast_to(expected, told.shape), rtol=1e-6)


def test_lanes_with_threads_of_their_own_share_none(package: Package) -> None:
    first, second = open_lanes(package, device="cpu", threads=2, max_rows=MAX_ROWS, lanes=2)
    assert not any(mine._session is other._session for mine, other in zip(first, second, strict=True))


def test_states_are_those_that_the_graphs_make(package: Package) -> None:
    assert state_shapes(opened(package)) == {"seen0": (3,), "rows": (8, 3), "seen1": (3,)}


def test_a_runner_serves_models_by_name(sessions: ModelSessions, package: Package) -> None:
    runner, other = OnnxRunner(), sessions_of(package)
    runner.add("colours", sessions)
    runner.add("again", other)
    images, _ = pictures(3, seed=30)
    walkers = walkers_of(images, [1, 2, 3])
    for model in ("colours", "again"):
        runner.run(model, 0, walkers)
    runner.keep("again", 0, walkers, [0, 1, 2])
    np.testing.assert_allclose(runner.run("again", 1, walkers)["logits1"], all_logits(images)[1], rtol=1e-6)


def test_a_device_that_isn_t_there_is_refused(package: Package) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(SettingsError, match="device cuda was asked for"):
        sessions_of(package, device="cuda")


def test_a_device_that_falls_back_is_refused(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a wheel for CUDA on a machine without a driver: the provider is listed, and the session gets the CPU."""
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    original = ort.InferenceSession

    def falls_back(graph: bytes, options: Any, *, providers: list[str]) -> Any:
        assert providers == ["CUDAExecutionProvider"]
        return original(graph, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "InferenceSession", falls_back)
    check_install("cuda")
    with pytest.raises(SettingsError, match="ONNX Runtime gave CPUExecutionProvider; look whether the driver"):
        sessions_of(package, device="cuda")


def test_two_onnx_runtimes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_install()
    monkeypatch.setattr(metadata, "version", lambda name: "1.20")
    with pytest.raises(SettingsError, match="onnxruntime and onnxruntime-gpu are both installed"):
        check_install()


def refusal(path: Path) -> PackageError:
    """What opening the package says: it loads, since nothing is altered, but can't run."""
    package = load(path)
    with pytest.raises(PackageError) as caught:
        sessions_of(package)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    ("stage", "tensors", "old", "new"),
    [(0, "inputs", "image", "picture"), (1, "outputs", "logits1", "answer"), (2, "outputs", "logits2", "answer")],
)
def test_names_that_the_graph_doesn_t_have_are_refused(
    tmp_path: Path, stage: int, tensors: str, old: str, new: str
) -> None:
    def rename(content: dict[str, Any]) -> None:
        told = content["stages"][stage][tensors]
        told[new] = told.pop(old)

    error = refusal(write_colours(tmp_path, manifest=rename))
    assert (error.file, error.field) == (str(tmp_path / "colours" / f"{STAGES[stage]}.onnx"), STAGES[stage])
    assert f"'{old}'" in error.problem
    assert f"'{new}'" in error.problem


def test_a_state_that_the_graph_doesn_t_make_is_refused(tmp_path: Path) -> None:
    def rename(content: dict[str, Any]) -> None:
        content["stages"][0]["outputs"] = {"seen": "state", "rows": "state", "logits0": "answer"}
        content["stages"][1]["inputs"] = {"seen": "state", "rows": "state"}

    assert "'seen0'" in refusal(write_colours(tmp_path, manifest=rename)).problem


def test_a_tensor_that_the_manifest_doesn_t_tell_is_refused(tmp_path: Path) -> None:
    def forget(content: dict[str, Any]) -> None:
        del content["stages"][1]["outputs"]["seen1"]
        content["stages"][2]["inputs"] = {"rows": "state"}

    assert "'seen1'" in refusal(write_colours(tmp_path, manifest=forget)).problem


def test_a_glimpse_of_another_size_than_the_graph_s_is_refused(tmp_path: Path) -> None:
    def grow(content: dict[str, Any]) -> None:
        content["stages"][0]["inputs"]["image"]["height"] = 9

    assert "[9, 8, 3]" in refusal(write_colours(tmp_path, manifest=grow)).remedy


def test_an_answer_of_other_classes_than_listed_is_refused(tmp_path: Path) -> None:
    error = refusal(write_colours(tmp_path, labels=(*LABELS, "grey")))
    assert "'logits0'" in error.problem
    assert "[4]" in error.remedy


def test_no_graph_at_all_is_refused(tmp_path: Path) -> None:
    error = refusal(write_colours(tmp_path, graphs={"look": b"no graph"}))
    assert (error.field, error.problem.split(":")[0]) == ("look", "ONNX Runtime")


def graph_of(path: Path, stage: str, change: Callable[[onnx.GraphProto], None]) -> dict[str, bytes]:
    """Another graph for a stage of the package."""
    model = onnx.load(path / f"{stage}.onnx")
    change(model.graph)
    return {stage: model.SerializeToString()}


def tensor(values: Any, name: str) -> onnx.TypeProto.Tensor:
    """The declared type of one of a graph's inputs or outputs."""
    found: onnx.TypeProto.Tensor = next(value.type.tensor_type for value in values if value.name == name)
    return found


def fixed_rows(graph: onnx.GraphProto) -> None:
    tensor(graph.input, "rows").shape.dim[0].dim_value = 1


def any_width(graph: onnx.GraphProto) -> None:
    tensor(graph.input, "rows").shape.dim[1].dim_param = "height"


def whole_numbers(graph: onnx.GraphProto) -> None:
    """seen1 as int64, which the pool of states can't hold."""
    graph.node.append(onnx.helper.make_node("Cast", ["seen1"], ["whole"], to=TensorProto.INT64))
    rename_output(graph, TensorProto.INT64)


def doubles(graph: onnx.GraphProto) -> None:
    graph.node.append(onnx.helper.make_node("Cast", ["seen1"], ["whole"], to=TensorProto.DOUBLE))
    rename_output(graph, TensorProto.DOUBLE)


def rename_output(graph: onnx.GraphProto, kind: int) -> None:
    """Let the output seen1 be the tensor that is called `whole`, of that type."""
    for node in graph.node:
        node.input[:] = ["seen1_" if name == "seen1" else name for name in node.input]
        node.output[:] = [{"seen1": "seen1_", "whole": "seen1"}.get(name, name) for name in node.output]
    tensor(graph.output, "seen1").elem_type = kind


@pytest.mark.parametrize("change", [fixed_rows, any_width, whole_numbers, doubles])
def test_tensors_that_no_buffer_can_hold_are_refused(
    colours: Path, tmp_path: Path, change: Callable[[onnx.GraphProto], None]
) -> None:
    error = refusal(write_colours(tmp_path, graphs=graph_of(colours, "look", change)))
    assert error.field == "look"
    assert "tensor(float) with a dynamic first axis" in error.remedy


def wider(graph: onnx.GraphProto) -> None:
    """Ask for nine rows of pixels, where the stage before makes eight."""
    tensor(graph.input, "rows").shape.dim[1].dim_value = 9


def test_a_state_of_another_shape_than_made_is_refused(colours: Path, tmp_path: Path) -> None:
    error = refusal(write_colours(tmp_path, graphs=graph_of(colours, "stare", wider)))
    assert error.field == "stare"
    assert "state 'rows' is [9, 3] here and [8, 3] elsewhere" in error.problem


@pytest.mark.parametrize("way", ["../weights.bin", "{outside}/weights.bin"])
def test_weights_outside_the_folder_are_never_read(colours: Path, tmp_path: Path, way: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for folder in (tmp_path, outside):
        np.eye(3, dtype=np.float32).tofile(folder / "weights.bin")

    def stray(graph: onnx.GraphProto) -> None:
        weight = next(constant for constant in graph.initializer if constant.name == "weight")
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=way.format(outside=outside))

    error = refusal(write_colours(tmp_path, graphs=graph_of(colours, "look", stray)))
    assert error.field == "look"
    assert "external data" in error.problem.lower()
