"""What the engine asks of an input, and which reader a modality has."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from service.errors import Malformed, TooLarge, UnsupportedMedia
from service.media.image import ImageLimits, ImageSource
from service.media.pixels import RGB, fit, solid
from service.media.text import TextLimits, TextSource


@dataclass(frozen=True, slots=True)
class Limits:
    """What an input may be, by modality."""

    image: ImageLimits = field(default_factory=ImageLimits)
    text: TextLimits = field(default_factory=TextLimits)


class Source(Protocol):
    """An opened input that makes views of itself on demand."""

    @property
    def area(self) -> int:
        """Pixels that a view is made from: what it costs grows with them."""

    def glimpse(self, height: int, width: int) -> NDArray[Any]:
        """One view, as a stage asks for it: uint8 [height, width, 3] of an image."""


@dataclass(frozen=True, slots=True)
class PixelSource:
    """An image that came as pixels: uint8 [height, width, 3], RGB."""

    pixels: RGB

    @property
    def area(self) -> int:
        """See `Source.area`."""
        height, width, _ = self.pixels.shape
        return int(height * width)

    def glimpse(self, height: int, width: int) -> RGB:
        """See `ImageSource.glimpse`."""
        return solid(fit(self.pixels, height, width))


def open_pixels(pixels: RGB, limits: ImageLimits) -> Source:
    """Pixels that need no decoding.

    Raises:
        RequestError: an image without pixels, or above a limit.
    """
    height, width, _ = pixels.shape
    if not height or not width:
        raise Malformed(f"its size is {width}x{height}")
    if height * width > limits.max_pixels or max(height, width) > limits.max_side:
        raise TooLarge(
            f"the image has {width}x{height} pixels, the limit is {limits.max_pixels}", limit=limits.max_pixels
        )
    return PixelSource(pixels)


def open_source(
    modality: str, data: bytes, content_type: str | None, limits: Limits, folder: Path | None = None
) -> Source:
    """Open a body for a model of that modality, whose package is `folder`. No decoding; belongs on a decode thread.

    Raises:
        RequestError: not of that modality, broken, or above a limit.
    """
    if modality == "text":
        # What the first stage alone can ask for is a picture; a text is looked at all along a walk.
        return cast(Source, TextSource.open(data, content_type=content_type, limits=limits.text, folder=folder))
    if modality != "image":
        raise UnsupportedMedia(f"no reader for {modality} here")
    return ImageSource.open(data, content_type=content_type, limits=limits.image)
