import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from service.errors import Malformed, UnsupportedMedia
from service.media.image import ImageSource

Encode = Callable[..., bytes]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_modes(photo: Image.Image, encode: Encode, mode: str) -> None:
    picture = photo.convert(mode)
    shown = ImageSource.open(encode(picture, "BMP")).glimpse(32, 48)
    np.testing.assert_array_equal(shown, np.asarray(picture.convert("RGB")))


def test_alpha_shows_white_paper() -> None:
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 108, 2, 1, 1, 32, 3, 8, 0, 0, 0, 0) + masks + bytes(52)
    data = b"BM" + struct.pack("<IHHI", 130, 0, 0, 122) + info + bytes.fromhex("09090900 0908 07ff")
    assert ImageSource.open(data).glimpse(1, 2).tolist() == [[[255, 255, 255], [7, 8, 9]]]


def test_top_down_rows_are_read_top_down(photo: Image.Image, encode: Encode) -> None:
    data = encode(photo, "BMP")
    flipped = ImageSource.open(data[:22] + struct.pack("<i", -32) + data[26:])
    np.testing.assert_array_equal(flipped.glimpse(32, 48), np.asarray(photo)[::-1])


@pytest.mark.parametrize("compression", [1, 2, 4, 5])
def test_compressed_bitmaps_are_refused(encode: Encode, photo: Image.Image, compression: int) -> None:
    data = encode(photo.convert("P"), "BMP")
    with pytest.raises((UnsupportedMedia, Malformed), match=r"compress"):
        ImageSource.open(data[:30] + struct.pack("<I", compression) + data[34:])


def test_a_truncated_file_is_malformed(photo: Image.Image, encode: Encode) -> None:
    data = encode(photo, "BMP")
    for length in range(18, len(data), 101):
        with pytest.raises(Malformed, match="broken image/bmp"):
            ImageSource.open(data[:length]).glimpse(32, 48)
