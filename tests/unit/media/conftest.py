from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def encode() -> Encode:
    """A picture as the bytes of a file: `encode(picture, "PNG", **options of Pillow's save)`."""

    def encode(picture: Image.Image, form: str, **options: Any) -> bytes:
        buffer = BytesIO()
        picture.save(buffer, form, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """48 x 32 pixels, RGB, smooth as photographs are, every corner of another colour."""
    return smooth(48, 32)


@pytest.fixture(scope="session")
def smooth_picture() -> Callable[[int, int], Image.Image]:
    """Pictures like `photo` of any width and height."""
    return smooth


def smooth(width: int, height: int) -> Image.Image:
    corners = np.array([[[220, 30, 30], [30, 200, 40]], [[40, 50, 210], [230, 220, 60]]], np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC)
