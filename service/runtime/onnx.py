"""Stages as ONNX Runtime sessions, with buffers bound once a batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.core import Walker
from service.errors import PackageError, SettingsError
from service.package.glimpses import Glimpse
from service.package.load import Package
from service.package.stage import Input, Output, Stage
from service.runtime.base import Outputs
from service.runtime.moves import Moves, gather, scatter
from service.runtime.states import StatePool

try:
    import onnxruntime as ort
except ImportError:  # the base install, before an extra is chosen; `check_install` says so
    ort = None

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_DTYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int32)": np.int32}


def check_install(device: str = "cpu") -> None:
    """Refuse to start without ONNX Runtime, with both distributions (their files overwrite each other, and CUDA may
    vanish), or with one that can't have the device.

    Raises:
        SettingsError: none or both are installed, or not the one for that device.
    """
    if ort is None:
        raise SettingsError("ONNX Runtime is not installed: pip install 'offramp[cpu]' or 'offramp[gpu]'")
    found = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(found) > 1:
        raise SettingsError(f"{' and '.join(found)} are both installed; uninstall both, then install one again")
    _check_provider(device)


def _check_provider(device: str) -> None:
    if PROVIDERS[device] not in ort.get_available_providers():
        remedy = "; pip uninstall onnxruntime, then pip install 'offramp[gpu]'" if device == "cuda" else ""
        found = ort.get_available_providers()
        raise SettingsError(f"device {device} was asked for, but this ONNX Runtime has {found}{remedy}")


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


class StageSession:
    """One stage on one lane: a session, and buffers for up to `max_rows` rows that every batch uses again."""

    def __init__(
        self,
        package: Package,
        stage: Stage,
        *,
        device: str,
        threads: int,
        max_rows: int,
        opened: dict[str, Any],
    ) -> None:
        """`opened` are sessions by graph that stages of the same graph share."""
        self.stage = stage
        if stage.graph not in opened:
            opened[stage.graph] = _open(package, stage, device, threads)
        self._session = opened[stage.graph]
        self.max_rows = max_rows
        self.inputs = self._buffers(self._session.get_inputs(), package, stage.inputs)
        self.outputs = self._buffers(self._session.get_outputs(), package, stage.outputs)
        self._bindings: dict[int, tuple[Any, Outputs]] = {}

    def run(self, rows: int) -> Outputs:
        """Run the first `rows` rows of the input buffers; the outputs are views of the output buffers."""
        if rows not in self._bindings:
            self._bindings[rows] = self._bind(rows)
        binding, outputs = self._bindings[rows]
        self._session.run_with_iobinding(binding)
        return outputs

    def _buffers(
        self, nodes: Sequence[Any], package: Package, declared: Mapping[str, Input | Output]
    ) -> dict[str, NDArray[Any]]:
        found = {node.name for node in nodes}
        if found != set(declared):
            problem = f"the graph has tensors {sorted(found)}, the manifest {sorted(declared)}"
            raise PackageError(package.path / self.stage.graph, self.stage.name, problem, "export the package again")
        return {node.name: self._buffer(node, declared[node.name], package) for node in nodes}

    def _buffer(self, node: Any, role: Input | Output, package: Package) -> NDArray[Any]:
        rows, *shape = node.shape or [0]
        kind, expected = _contract(role, package)
        if isinstance(role, Glimpse) and len(shape) == len(role.shape):
            # Stages may share a graph of pictures of any size: the buffer has the one that this stage asks for.
            shape = [size if isinstance(size, int) else asked for size, asked in zip(shape, role.shape, strict=True)]
        fixed = all(isinstance(size, int) for size in shape)
        if isinstance(rows, int) or not fixed or node.type != kind or not _fits(shape, expected):
            problem = f"tensor {node.name!r} is {node.type} {node.shape}"
            remedy = f"export it as {kind} with a dynamic first axis and then {expected or 'fixed ones'}"
            raise PackageError(package.path / self.stage.graph, self.stage.name, problem, remedy)
        return np.zeros((self.max_rows, *shape), _DTYPES[kind])

    def _bind(self, rows: int) -> tuple[Any, Outputs]:
        if not 1 <= rows <= self.max_rows:
            raise ValueError(f"{rows} rows for buffers of {self.max_rows}")
        binding = self._session.io_binding()
        for name, buffer in self.inputs.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(buffer[:rows]))
        for name, buffer in self.outputs.items():
            binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(buffer[:rows]))
        return binding, {name: buffer[:rows] for name, buffer in self.outputs.items()}


def _fits(sizes: Sequence[int], expected: Sequence[int | None] | None) -> bool:
    return expected is None or (
        len(sizes) == len(expected) and all(want in (None, size) for size, want in zip(sizes, expected, strict=True))
    )


def _contract(role: Input | Output, package: Package) -> tuple[str, list[int | None] | None]:
    """Type and sizes behind the first axis that a tensor has to have; None where the graphs may choose."""
    if isinstance(role, Glimpse):
        return role.tensor, list(role.shape)
    return "tensor(float)", list(package.task.sizes(len(package.labels))) if role == "answer" else None


@cache
def _share_arena() -> None:
    """One arena for all sessions of the process. On their own each keeps for good what its largest batch took, which
    doubled the memory of a server with twenty packages.
    """
    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(place, ort.OrtArenaCfg({}))


def session_options(threads: int) -> Any:
    """Options of every session here: that many threads, none of which spins, and the arena of all."""
    _share_arena()
    options = ort.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads of one lane would take the cores of the others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _open(package: Package, stage: Stage, device: str, threads: int) -> Any:
    _check_provider(device)
    try:
        # From the bytes that were verified: what lies on disk may have changed since.
        graph = package.graph_bytes(stage)
        session = ort.InferenceSession(graph, session_options(threads), providers=[PROVIDERS[device]])
    except Exception as error:  # ONNX Runtime raises its own types, one an error code
        remedy = "export the package again"
        raise PackageError(package.path / stage.graph, stage.name, f"ONNX Runtime: {error}", remedy) from error
    if session.get_providers()[0] != PROVIDERS[device]:
        # ONNX Runtime falls back to the CPU with no more than a log line.
        given = session.get_providers()[0]
        remedy = "look whether the driver and the CUDA and cuDNN libraries that it wants are there"
        raise SettingsError(f"device {device} was asked for, but ONNX Runtime gave {given}; {remedy}")
    return session


class ModelSessions:
    """All stages of one package on one lane, and the pool that holds its walkers' state."""

    def __init__(self, package: Package, stages: Sequence[StageSession], pool: StatePool) -> None:
        """`stages` of the package as `open_stages` made them; nobody else may use them."""
        self._pool, self.stages = pool, stages
        self.max_rows = stages[0].max_rows
        self._stage_of = package.graph.stage_of
        for session in self.stages:
            self._check_states(package, session)
        self._moves = [Moves.of(session.stage, session.inputs, session.outputs, pool) for session in self.stages]
        self._zeros = [pool.tensors[name] for name in package.manifest.zeros]
        self._made: Outputs = {}

    def _check_states(self, package: Package, session: StageSession) -> None:
        """A state has one shape, in whichever stage it is made or asked for."""
        stage, kept = session.stage, self._pool.tensors
        many = (stage.ragged,) if stage.ragged else ()
        for roles, buffers in ((stage.reads, session.inputs), (stage.writes, session.outputs)):
            for port, name in roles.items():
                self._check_state(package, stage, name, buffers[port].shape[1:], kept[name].shape[1:])
        for roles, buffers in ((stage.reads_rows, session.inputs), (stage.writes_rows, session.outputs)):
            for port, name in roles.items():
                self._check_state(package, stage, name, (*many, *buffers[port].shape[1:]), kept[name].shape[1:])

    def _check_state(
        self, package: Package, stage: Stage, name: str, found: tuple[int, ...], kept: tuple[int, ...]
    ) -> None:
        if found != kept:
            problem = f"state {name!r} is {list(found)} here and {list(kept)} elsewhere"
            raise PackageError(package.path / stage.graph, stage.name, problem, "export the package again")

    def run(self, place: int, walkers: Sequence[Walker]) -> Outputs:
        """See `Runner.run`."""
        stage = self._stage_of[place]
        if place == 0:
            self._begin(walkers)
        if self.stages[stage].stage.ragged is None:
            self._made = self._run_rows(stage, walkers)
        else:
            self._made = self._run_ragged(stage, walkers)
        return self._made

    def keep(self, place: int, walkers: Sequence[Walker], rows: Sequence[int]) -> None:
        """See `Runner.keep`."""
        moves, slots = self._moves[self._stage_of[place]], [walkers[row].slot for row in rows]
        if moves.ragged:
            moves.scatter_picked(self._made, walkers, rows)
            return
        for port, pool in moves.kept:
            scatter(self._made[port], rows, pool, slots)

    def _begin(self, walkers: Sequence[Walker]) -> None:
        """States that are 0 when a walk begins: a slot holds what its last walker left."""
        for pool in self._zeros:
            pool[[walker.slot for walker in walkers]] = 0.0

    def _run_rows(self, stage: int, walkers: Sequence[Walker]) -> Outputs:
        moves, slots = self._moves[stage], [walker.slot for walker in walkers]
        for pool, buffer in moves.gathered:
            gather(pool, slots, buffer)
        for name, buffer in moves.shown:
            for row, walker in enumerate(walkers):
                buffer[row] = walker.glimpses[name]
        return self.stages[stage].run(len(slots))

    def _run_ragged(self, stage: int, walkers: Sequence[Walker]) -> Outputs:
        """The picked rows of all walkers, one walker's behind the other's, as many at a time as the buffers hold."""
        moves, session = self._moves[stage], self.stages[stage]
        picked = moves.picked(walkers)
        parts = []
        for start in range(0, len(picked), self.max_rows):
            part = picked[start : start + self.max_rows]
            moves.gather_picked(part)
            outputs = session.run(len(part))
            if len(picked) <= self.max_rows:
                return outputs
            parts.append({name: array.copy() for name, array in outputs.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class OnnxRunner:
    """The stages of all models on one lane."""

    def __init__(self) -> None:
        self._models: dict[str, ModelSessions] = {}

    def add(self, model: str, sessions: ModelSessions) -> None:
        """Serve one more model on this lane."""
        self._models[model] = sessions

    def drop(self, model: str) -> None:
        """Serve a model no more; none of its walkers is left."""
        self._models.pop(model, None)

    def run(self, model: str, stage: int, walkers: Sequence[Walker]) -> Outputs:
        """See `Runner.run`."""
        return self._models[model].run(stage, walkers)

    def keep(self, model: str, stage: int, walkers: Sequence[Walker], rows: Sequence[int]) -> None:
        """See `Runner.keep`."""
        self._models[model].keep(stage, walkers, rows)


def open_lanes(package: Package, *, device: str, threads: int, max_rows: int, lanes: int) -> list[list[StageSession]]:
    """The stages of a package for each lane, as `open_stages` makes them.

    Lanes of one thread share their sessions, and so the weights: a session without threads of its own runs on those
    that call it, several at once. A device's streams aren't shared.
    """
    shared: dict[str, Any] | None = {} if device == "cpu" and threads == 1 else None
    return [
        open_stages(package, device=device, threads=threads, max_rows=max_rows, opened=shared) for _ in range(lanes)
    ]


def open_stages(
    package: Package, *, device: str, threads: int, max_rows: int, opened: dict[str, Any] | None = None
) -> list[StageSession]:
    """The stages of a package for one lane, with buffers of `max_rows` rows; `opened`: sessions by graph to share.

    Raises:
        PackageError: a graph that ONNX Runtime can't open, or that isn't what the manifest says.
        SettingsError: the device isn't there.
    """
    opened = {} if opened is None else opened
    return [
        StageSession(package, stage, device=device, threads=threads, max_rows=max_rows, opened=opened)
        for stage in package.manifest.stages
    ]


def state_shapes(stages: Sequence[StageSession]) -> dict[str, tuple[int, ...]]:
    """Shapes of the state tensors without their first axis, as the stages write them."""
    shapes: dict[str, tuple[int, ...]] = {}
    for session in stages:
        stage = session.stage
        shapes |= {name: session.outputs[port].shape[1:] for port, name in stage.writes.items()}
        many = (stage.ragged or 1,)
        shapes |= {name: (*many, *session.outputs[port].shape[1:]) for port, name in stage.writes_rows.items()}
    return shapes
