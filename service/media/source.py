"""What the engine asks of an input, and which reader a modality has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.errors import Malformed, TooLarge, UnsupportedMedia
from service.media.boxes import overlay, small, told
from service.media.image import ImageLimits, ImageSource
from service.media.pixels import RGB, cover, cut, fit, solid, within
from service.media.text import TextLimits, TextSource
from service.media.uploads import Payload, whole
from service.media.video import VideoLimits, VideoSource
from service.package.glimpses import Glimpse


@dataclass(frozen=True, slots=True)
class Limits:
    """What an input may be, by modality."""

    image: ImageLimits = field(default_factory=ImageLimits)
    text: TextLimits = field(default_factory=TextLimits)
    video: VideoLimits = field(default_factory=VideoLimits)


class Source(Protocol):
    """An opened input that makes views of itself on demand."""

    @property
    def area(self) -> int:
        """Pixels that a view is made from: what it costs grows with them."""

    def look(self, glimpse: Glimpse, at: NDArray[np.float32] | None) -> NDArray[Any]:
        """Views as a stage asks for them, of `glimpse.shape` and `glimpse.dtype`: [k, ...] at the places `at` [k,
        coordinates], or [1, ...] where there is nothing to choose. Belongs on a decode thread.

        Raises:
            RequestError: the input turns out to be damaged there.
        """

    def tells(self, glimpse: Glimpse, at: NDArray[np.float32] | None) -> list[dict[str, Any]]:
        """What those views show, in words of the medium, for `explain`: a box in pixels, seconds, characters."""

    def picture(self, seen: Sequence[Mapping[str, Any]]) -> bytes | None:
        """PNG of all that was seen, for `explain`; None where the medium has none."""


@dataclass(frozen=True, slots=True)
class PixelSource:
    """An image that came as pixels: uint8 [height, width, 3], RGB."""

    pixels: RGB

    @property
    def area(self) -> int:
        """See `Source.area`."""
        height, width, _ = self.pixels.shape
        return int(height * width)

    def look(self, glimpse: Glimpse, at: NDArray[np.float32] | None) -> RGB:
        """See `Source.look`."""
        height, width, _ = glimpse.shape
        if at is None:
            return solid(fit(self.pixels, height, width))[None]
        outer = cover(self.pixels.shape[1], self.pixels.shape[0], glimpse.aspect)
        return solid(np.stack([cut(self.pixels, within(outer, share), height, width) for share in at.tolist()]))

    def tells(self, glimpse: Glimpse, at: NDArray[np.float32] | None) -> list[dict[str, Any]]:
        """See `Source.tells`."""
        height, width, _ = self.pixels.shape
        return told(height, width, glimpse, at)

    def picture(self, seen: Sequence[Mapping[str, Any]]) -> bytes | None:
        """See `Source.picture`."""
        height, width, _ = self.pixels.shape
        return overlay(solid(fit(self.pixels, *small(height, width))), height, width, seen)


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
    modality: str, data: Payload, content_type: str | None, limits: Limits, folder: Path | None = None
) -> Source:
    """Open a body for a model of that modality, whose package is `folder`. No decoding; belongs on a decode thread.

    Raises:
        RequestError: not of that modality, broken, or above a limit.
    """
    if modality == "video":
        return VideoSource.open(data, content_type=content_type, limits=limits.video)
    if modality == "text":
        held = _held(data, limits.text.max_bytes)
        return TextSource.open(held, content_type=content_type, limits=limits.text, folder=folder)
    if modality != "image":
        raise UnsupportedMedia(f"no reader for {modality} here")
    return ImageSource.open(_held(data, limits.image.max_bytes), content_type=content_type, limits=limits.image)


def _held(data: Payload, limit: int) -> bytes:
    """All bytes, in memory; they may have come by a way that is for larger ones."""
    if len(data) > limit:
        raise TooLarge(f"the input has {len(data)} bytes, the limit is {limit}", limit=limit, value=len(data))
    return whole(data)
