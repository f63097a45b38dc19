"""What every part of a manifest is built of: frozen models that refuse unknown fields and loose types."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=64)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=128)]
"""A plain file name: no separators, so nothing outside the package folder can be named."""
Tensor = Annotated[str, StringConstraints(min_length=1, max_length=128)]
"""A tensor of an ONNX graph, or the name under which a state is kept."""


class Strict(BaseModel):
    """Base of all parts."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
