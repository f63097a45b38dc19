"""What the engine asks of an input, and which reader a modality has."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

from service.errors import UnsupportedMedia
from service.media.image import ImageLimits, ImageSource


class Source(Protocol):
    """An opened input that makes views of itself on demand."""

    @property
    def pixels(self) -> int:
        """How large it is: what a view costs grows with it."""

    def glimpse(self, height: int, width: int) -> NDArray[Any]:
        """One view, as a stage asks for it: uint8 [height, width, 3] of an image."""


def open_source(modality: str, data: bytes, content_type: str | None, limits: ImageLimits) -> Source:
    """Open a body for a model of that modality. Header work only; belongs on a decode thread.

    Raises:
        RequestError: not of that modality, broken, or above a limit.
    """
    if modality != "image":
        raise UnsupportedMedia(f"no reader for {modality} here")
    return ImageSource.open(data, content_type=content_type, limits=limits)
