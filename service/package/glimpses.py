"""The kinds of glimpse: views of the raw input that a stage asks for, made only when it does.

Each says what array a graph gets for one row (`shape`, `dtype`) and how many numbers say where to look
(`coordinates`). Where a kind has coordinates, the router names them for each row (`Routing.look`); `at` is where a
stage looks when the router names none.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from service.package.strict import FileName, Strict

Modality = Literal["image", "text", "video"]
Side = Annotated[int, Field(ge=1, le=4096)]
Count = Annotated[int, Field(ge=1, le=4096)]
Characters = Annotated[int, Field(ge=1, le=1_000_000)]
Share = Annotated[float, Field(ge=0, le=1, strict=False)]
Number = Annotated[float, Field(strict=False)]


class _Glimpse(Strict):
    modality: ClassVar[Modality] = "image"
    coordinates: ClassVar[int] = 0
    tensor: ClassVar[str] = "tensor(uint8)"

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the array for one row."""
        raise TypeError(f"{type(self).__name__} has no shape")

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the array."""
        return np.dtype({"tensor(uint8)": np.uint8, "tensor(int32)": np.int32}.get(self.tensor, np.float32))

    @property
    def default(self) -> NDArray[np.float32] | None:
        """Where to look if the router names no place, float32 [1, coordinates]; None if it has to, or can't."""
        at: tuple[float, ...] | None = getattr(self, "at", None)
        return None if at is None else np.array([at], np.float32)

    @property
    def aspect(self) -> float:
        """Width by height of the part of a picture that is seen, or that coordinates are shares of."""
        height, width = self.shape[:2] if len(self.shape) > 2 else (1, 1)
        return width / height

    @property
    def ready(self) -> bool:
        """Whether it can be made before any router has said where to look."""
        return not self.coordinates or self.default is not None


class _Picture(_Glimpse):
    height: Side
    width: Side

    @property
    def shape(self) -> tuple[int, ...]:
        """One RGB picture."""
        return (self.height, self.width, 3)


class ImageGlimpse(_Picture):
    """The whole image at one size: uint8 [height, width, 3], RGB; scaled to cover and cut at its centre."""

    glimpse: Literal["image"]


class CropGlimpse(_Picture):
    """A box of the image at full resolution, scaled to one size: uint8 [height, width, 3], RGB.

    Its coordinates are top, left, bottom and right as shares of what an `image` glimpse of the size `of` (height,
    width) shows, or one of this size where that isn't told: tiles of a picture need not have its aspect.
    """

    coordinates: ClassVar[int] = 4
    glimpse: Literal["crop"]
    at: Annotated[tuple[Share, Share, Share, Share], Field(strict=False)] | None = None
    of: Annotated[tuple[Side, Side], Field(strict=False)] | None = None

    @property
    def aspect(self) -> float:
        """See `_Glimpse.aspect`."""
        height, width = self.of or (self.height, self.width)
        return width / height


class TokensGlimpse(_Glimpse):
    """A chunk of a text as token ids: int32 [count], 0 where the chunk is shorter.

    Chunk k holds the words of the k-th window of `chars` characters; its number is the coordinate, -1 the last one's.
    `file` is the tokenizer, one of the package's `files`.
    """

    modality: ClassVar[Modality] = "text"
    coordinates: ClassVar[int] = 1
    tensor: ClassVar[str] = "tensor(int32)"
    glimpse: Literal["tokens"]
    count: Count
    chars: Characters
    file: FileName
    at: Annotated[tuple[Number], Field(strict=False)] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """One chunk."""
        return (self.count,)


class NgramsGlimpse(_Glimpse):
    """Hashed word uni- and bigrams of a text, or of a chunk of it: int32 [count], 1..buckets, 0 where there are fewer.

    With `chars`, the coordinate is the number of the chunk, as for `tokens`; without, the whole text is read.
    """

    modality: ClassVar[Modality] = "text"
    coordinates: ClassVar[int] = 1
    tensor: ClassVar[str] = "tensor(int32)"
    glimpse: Literal["ngrams"]
    count: Count
    buckets: Annotated[int, Field(ge=2, le=2**24)]
    chars: Characters | None = None
    at: Annotated[tuple[Number], Field(strict=False)] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """One chunk, or the whole text."""
        return (self.count,)

    @property
    def ready(self) -> bool:
        """Without chunks there is nothing to choose."""
        return self.chars is None or self.default is not None


class ChunksGlimpse(_Glimpse):
    """How many chunks of `chars` characters the text has: float32 [1]."""

    modality: ClassVar[Modality] = "text"
    tensor: ClassVar[str] = "tensor(float)"
    glimpse: Literal["chunks"]
    chars: Characters

    @property
    def shape(self) -> tuple[int, ...]:
        """One number."""
        return (1,)


class ChunkGlimpse(_Glimpse):
    """Which chunk the stage looks at: float32 [1], the coordinate of its other glimpses, for graphs that keep count.

    With `chars` numbers from the end, -1 and below, are told as numbers from the front.
    """

    modality: ClassVar[Modality] = "text"
    coordinates: ClassVar[int] = 1
    tensor: ClassVar[str] = "tensor(float)"
    glimpse: Literal["chunk"]
    chars: Characters | None = None
    at: Annotated[tuple[Number], Field(strict=False)] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """One number."""
        return (1,)


class FrameGlimpse(_Picture):
    """The frame of a video at a moment: uint8 [height, width, 3], RGB. The coordinate is a share of the duration."""

    modality: ClassVar[Modality] = "video"
    coordinates: ClassVar[int] = 1
    glimpse: Literal["frame"]
    at: Annotated[tuple[Share], Field(strict=False)] | None = None


class FramesGlimpse(_Picture):
    """Frames spread evenly over a video, at the moments (k + 0.5) / count: uint8 [count, height, width, 3], RGB."""

    modality: ClassVar[Modality] = "video"
    glimpse: Literal["frames"]
    count: Annotated[int, Field(ge=1, le=256)]

    @property
    def shape(self) -> tuple[int, ...]:
        """So many RGB pictures."""
        return (self.count, self.height, self.width, 3)


Glimpse = (
    ImageGlimpse
    | CropGlimpse
    | TokensGlimpse
    | NgramsGlimpse
    | ChunksGlimpse
    | ChunkGlimpse
    | FrameGlimpse
    | FramesGlimpse
)
