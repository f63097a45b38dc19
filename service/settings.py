"""Every knob of the server, in one frozen model. Each is also an environment variable: `OFFRAMP_` and its name in
capitals.

An unknown `OFFRAMP_` variable or a value out of range stops the start; nothing is guessed. docs/settings.md lists
them all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from service import cores
from service.errors import SettingsError

PREFIX = "OFFRAMP_"
ZOO = Path(__file__).resolve().parent.parent / "models" / "zoo"
"""Where the shipped packages lie, in a checkout and in an installed wheel alike."""
_NOT_OURS = {"OFFRAMP_DATA"}
"""Variables with the prefix that other parts read: the data sets' folder is for tests and recipes."""


def _paths(value: Any) -> Any:
    """Folders from a text; an empty part names none, least of all the working directory."""
    return tuple(part for part in value.split(os.pathsep) if part) if isinstance(value, str) else value


Positive = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """Units are in the names: `_ms` milliseconds, `_s` seconds, `_bytes` bytes; the rest are counts."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    grpc_port: int = Field(8001, ge=0, le=65535, description="port for gRPC; 0 serves none. Needs the extra `grpc`")
    models: Annotated[tuple[Path, ...], BeforeValidator(_paths)] = Field(
        (ZOO,), min_length=1, description="folders that hold package folders, parted by ':'"
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="where stages run; refuses to start when it isn't there")
    lanes: Positive = Field(
        default_factory=cores.available, description="threads that run stage batches; default: the cores of the cgroup"
    )
    lane_threads: Positive = Field(1, description="ONNX Runtime threads within a lane")
    max_batch_rows: int = Field(32, ge=1, le=1024, description="most rows of one stage batch; buffers are this large")
    max_in_flight: int = Field(1024, ge=1, le=65536, description="most walkers of one model at a time")
    shadow_share: float = Field(
        0.01, ge=0, le=1, description="share of walks that are audited: finished on idle compute once they are answered"
    )
    max_shadows: int = Field(
        32, ge=0, le=4096, description="most audits of one model at a time; their slots come on top of the walkers'"
    )
    alarm_alpha: float = Field(
        0.01, gt=0, lt=1, description="probability that a certificate which holds is ever suspended by chance"
    )
    decode_threads: Positive = Field(default_factory=cores.available, description="threads that decode inputs")
    default_deadline_ms: float = Field(10_000.0, gt=0, description="deadline of requests that name none")
    max_body_bytes: Positive = Field(
        20 * 2**20, description="largest request body, but for videos as bytes or in forms"
    )
    max_inputs: Positive = Field(64, description="most inputs in one request")
    max_pixels: Positive = Field(50_000_000, description="most pixels of one image, before decoding")
    max_text_bytes: Positive = Field(2**20, description="most bytes of one text, in UTF-8")
    tenants: Path | None = Field(
        None, description="file of API keys and quotas (docs/tenants.md); none: everybody may ask"
    )
    max_video_bytes: Positive = Field(
        200 * 2**20, description="largest request body to a model that reads video, and largest video"
    )
    max_video_seconds: float = Field(600.0, gt=0, description="longest video")
    max_video_frames: Positive = Field(36_000, description="most frames of one video, as its header announces them")
    max_video_pixels: Positive = Field(4096 * 2304, description="most pixels of one frame of a video")
    max_video_decode_s: float = Field(
        30.0, gt=0, description="most processor time that reading one video may take, all looks together"
    )
    spool_after_bytes: int = Field(
        2**20,
        ge=0,
        description="a video's upload is held in memory up to this size, above it in a temporary file (TMPDIR)",
    )
    max_spool_bytes: Positive = Field(
        2 * 2**30, description="most bytes of all uploads on disk together; above it uploads are refused with 503"
    )
    drain_s: float = Field(30.0, ge=0, description="longest wait for accepted work at shutdown")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe lines logged")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="form of the log's lines; `auto` is text on a terminal, JSON elsewhere"
    )
    access_log: bool = Field(False, description="log a line for each input: request id, model, exit, MACs, outcome")


def from_environment(environment: Mapping[str, str], **overrides: Any) -> Settings:
    """Settings from `OFFRAMP_*` variables; overrides (of the command line) win where they aren't None.

    Raises:
        SettingsError: a variable that is no setting, or a value that a setting doesn't accept.
    """
    named = {key: value for key, value in environment.items() if key.startswith(PREFIX) and key not in _NOT_OURS}
    values: dict[str, Any] = {key.removeprefix(PREFIX).lower(): value for key, value in named.items()}
    values |= {key: value for key, value in overrides.items() if value is not None}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(problem) for problem in error.errors(include_url=False))) from error


def _sentence(problem: Any) -> str:
    name = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        return f"{PREFIX}{name.upper()} is no setting; docs/settings.md lists them"
    return f"{PREFIX}{name.upper()}={problem['input']!r}: {problem['msg']}"
