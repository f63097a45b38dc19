"""What the server and its models say of themselves in the protocol's words."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

from service.engine import Engine
from service.errors import OfframpError, Unsupported
from service.model import Model

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
    "trace",
)
_PLATFORM = "onnxruntime_stages"
_NS = 1e9
_CONFIG_TYPES = {"BYTES": "TYPE_STRING", "FP32": "TYPE_FP32", "UINT8": "TYPE_UINT8"}


def server() -> dict[str, Any]:
    """Name, version and what is offered beyond the core."""
    return {"name": "offramp", "version": metadata.version("offramp"), "extensions": list(EXTENSIONS)}


def model(served: Model) -> dict[str, Any]:
    """Inputs and outputs; -1 is any size."""
    manifest = served.package.manifest
    return {
        "name": served.name,
        "versions": [manifest.version],
        "platform": _PLATFORM,
        "inputs": [{"name": manifest.modality, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": one.name, "datatype": one.datatype, "shape": [-1, *one.shape]}
            for one in served.package.task.columns(len(served.package.labels))
        ],
    }


def config(served: Model, most_inputs: int) -> dict[str, Any]:
    """As much of Triton's model configuration as its tools read; a batch here is the inputs of one request."""
    manifest, columns = served.package.manifest, served.package.task.columns(len(served.package.labels))
    return {
        "name": served.name,
        "platform": _PLATFORM,
        "backend": "offramp",
        "max_batch_size": most_inputs,
        "input": [{"name": manifest.modality, "data_type": "TYPE_STRING", "dims": [1]}],
        "output": [
            {"name": one.name, "data_type": _CONFIG_TYPES[one.datatype], "dims": list(one.shape) or [1]}
            for one in columns
        ],
        "dynamic_batching": {},
        "model_transaction_policy": {"decoupled": False},
    }


def index(engine: Engine) -> list[dict[str, str]]:
    """Every package found, with its state."""
    entries = []
    for name, served in sorted(engine.models.items()):
        ready = engine.ready and name not in engine.withdrawn
        reason = "" if ready else "unloaded" if name in engine.withdrawn else "the server is starting or stopping"
        version = served.package.manifest.version
        entries.append(
            {"name": name, "version": version, "state": "READY" if ready else "UNAVAILABLE", "reason": reason}
        )
    failed = (
        {"name": name, "version": "", "state": "UNAVAILABLE", "reason": why} for name, why in engine.failed.items()
    )
    gone = (
        {"name": name, "version": "", "state": "UNAVAILABLE", "reason": "unloaded"} for name in sorted(engine.withdrawn)
    )
    return [*entries, *(one for one in (*failed, *gone) if one["name"] not in engine.models)]


def check_no_override(parameters: Mapping[str, Any]) -> None:
    """Refuse to load what a client sends along: packages are served as they lie on disk.

    Raises:
        Unsupported: it sent a configuration or files.
    """
    if parameters:
        raise Unsupported(f"a package is loaded as it lies on disk; {sorted(parameters)[0][:50]!r} can't replace parts")


def is_ready(engine: Engine, name: str) -> bool:
    """Whether a model takes requests now; an unknown one doesn't."""
    try:
        engine.model(name)
    except OfframpError:
        return False
    return True


def statistics(served: Model) -> dict[str, Any]:
    """Counts and nanoseconds since the start, taken from the same counters as /metrics.

    An execution is a batch of one stage, so there are more of them than inferences; `compute_input` is decoding.
    """
    told = served.telemetry.totals()
    infer = {
        "success": _pair(told.answers, told.seconds),
        "fail": _pair(told.failures, 0.0),
        "queue": _pair(told.answers, told.queue_s),
        "compute_input": _pair(told.answers, told.decode_s),
        "compute_infer": _pair(told.answers, told.device_s),
        "compute_output": _pair(told.answers, 0.0),
        "cache_hit": _pair(0, 0.0),
        "cache_miss": _pair(0, 0.0),
    }
    return {
        "name": served.name,
        "version": served.package.manifest.version,
        "last_inference": round(told.last_answer_at * 1e3),
        "inference_count": told.answers,
        "execution_count": told.batches,
        "inference_stats": infer,
        "response_stats": {},
        "batch_stats": [],
        "memory_usage": [],
    }


def _pair(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": round(seconds * _NS)}
