import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from service.media.exif import orientation, stored, swaps, upright


def block(value: int, *, order: str = "<", form: int = 3) -> bytes:
    """A TIFF header and a directory of two entries, the second of which is the orientation."""
    other = struct.pack(order + "HHIHxx", 0x010F, 3, 1, 7)
    entry = struct.pack(order + ("HHIHxx" if form == 3 else "HHII"), 0x0112, form, 1, value)
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(order + "HIH", 42, 8, 2) + other + entry + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("form", [3, 4])
@pytest.mark.parametrize("value", range(1, 9))
def test_reads_the_orientation_in_both_byte_orders(value: int, form: int, order: str) -> None:
    assert orientation(block(value, order=order, form=form)) == value
    assert orientation(b"Exif\0\0" + block(value, order=order, form=form)) == value


@pytest.mark.parametrize(
    "exif",
    [b"", b"II", b"nonsense", block(0), block(9), block(6, form=7), block(6)[:30], b"II*\0\xff\xff\xff\xff" + bytes(9)],
)
def test_metadata_that_make_no_sense_leave_the_picture_as_it_is(exif: bytes) -> None:
    assert orientation(exif) == 1


@given(st.binary(max_size=60))
def test_any_bytes_give_an_orientation(exif: bytes) -> None:
    assert orientation(b"II" + exif) in range(1, 9)


@pytest.mark.parametrize("value", range(1, 9))
def test_turns_pixels_as_pillow_does(value: int) -> None:
    stored = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    picture = Image.fromarray(stored)
    picture.getexif()[0x0112] = value
    turned = ImageOps.exif_transpose(picture)
    np.testing.assert_array_equal(upright(stored, value), np.asarray(turned))
    assert swaps(value) == (turned.size != picture.size)


@pytest.mark.parametrize("value", range(1, 9))
def test_a_box_of_the_upright_picture_is_found_in_the_stored_one(value: int) -> None:
    kept = np.arange(40 * 60, dtype=np.int32).reshape(40, 60)
    shown = upright(kept, value)
    height, width = shown.shape
    top, left, bottom, right = (
        round(edge * side) for edge, side in zip(stored((0.1, 0.3, 0.4, 0.5), value), (40, 60, 40, 60), strict=True)
    )
    expected = shown[round(0.1 * height) : round(0.4 * height), round(0.3 * width) : round(0.5 * width)]
    np.testing.assert_array_equal(upright(kept[top:bottom, left:right], value), expected)
