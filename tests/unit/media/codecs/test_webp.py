import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from service.errors import Malformed
from service.media.image import ImageSource

Encode = Callable[..., bytes]


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0II*\0"}])
@pytest.mark.parametrize("size", [(1, 1), (48, 31), (301, 17)])
def test_sizes_are_read_from_all_three_containers(
    smooth_picture: Callable[[int, int], Image.Image], encode: Encode, options: dict[str, object], size: tuple[int, int]
) -> None:
    source = ImageSource.open(encode(smooth_picture(*size), "WEBP", **options))
    assert (source.width, source.height) == size
    assert source.glimpse(size[1], size[0]).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("lossless", [True, False])
def test_alpha_shows_white_paper(encode: Encode, lossless: bool) -> None:
    picture = Image.new("RGBA", (16, 16), (200, 0, 0, 0))
    shown = ImageSource.open(encode(picture, "WEBP", lossless=lossless)).glimpse(16, 16)
    np.testing.assert_array_equal(shown, np.full((16, 16, 3), 255))


def test_a_truncated_file_is_malformed(photo: Image.Image, encode: Encode) -> None:
    for options in ({}, {"lossless": True}):
        data = encode(photo, "WEBP", **options)
        for length in range(12, len(data) - 2, 3):
            with pytest.raises(Malformed, match="broken image/webp"):
                ImageSource.open(data[:length]).glimpse(32, 48)


def test_what_follows_the_container_is_ignored(photo: Image.Image, encode: Encode) -> None:
    data = encode(photo, "WEBP", lossless=True, exif=b"Exif\0\0II*\0")
    np.testing.assert_array_equal(ImageSource.open(data + b"junk" * 9).glimpse(32, 48), np.asarray(photo))


def test_endless_chunks_end() -> None:
    body = b"VP8X\x0a\0\0\0" + bytes(10) + b"junk\0\0\0\0" * 200_000
    with pytest.raises(Malformed, match="more than 262144 parts"):
        ImageSource.open(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body)
