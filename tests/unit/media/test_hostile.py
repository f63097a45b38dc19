"""Whatever bytes come, the answer is a picture or an error of ours: nothing else, no warning, and in bounded time."""

import warnings
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from service.errors import RequestError
from service.media.image import ImageLimits, ImageSource

LIMITS = ImageLimits(max_pixels=4_000_000)


def files() -> list[bytes]:
    corners = np.array([[[220, 30, 30], [30, 200, 40]], [[40, 50, 210], [230, 220, 60]]], np.uint8)
    photo = Image.fromarray(corners).resize((40, 24), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112], exif[0x011A], exif[0x010F] = 6, 300.0, "maker"
    more: dict[str, Any] = {"save_all": True, "append_images": [photo.rotate(180)], "duration": 50}
    variants: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (photo, "JPEG", {"exif": exif.tobytes(), "icc_profile": b"profile", "comment": b"a comment"}),
        (photo, "JPEG", {"progressive": True, "exif": exif.tobytes()}),
        (photo.convert("CMYK"), "JPEG", {}),
        (photo.convert("L"), "JPEG", {"restart_marker_rows": 1}),
        (photo, "PNG", {"exif": exif.tobytes()}),
        (photo.convert("P"), "PNG", {"transparency": bytes(range(200))}),
        (photo.convert("L"), "PNG", {"transparency": 80}),
        (Image.fromarray(np.arange(960, dtype=np.uint16).reshape(24, 40) * 60), "PNG", {}),
        (photo, "PNG", more),
        (photo, "WEBP", {"exif": exif.tobytes()}),
        (photo.convert("RGBA"), "WEBP", {"lossless": True}),
        (photo, "WEBP", more),
        (photo, "GIF", more),
        (photo.convert("P"), "GIF", {"transparency": 3, "interlace": 1}),
        (photo, "BMP", {}),
        (photo.convert("P"), "BMP", {}),
    ]
    return [encoded(*variant) for variant in variants]


def encoded(picture: Image.Image, form: str, options: dict[str, Any]) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


FILES = files()
hostile = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def serve(data: bytes) -> None:
    """Open and glimpse; any error of ours is an answer, too."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            glimpse = ImageSource.open(data, limits=LIMITS).glimpse(16, 16)
            detail = ""
        except RequestError as error:
            glimpse, detail = np.empty((16, 16, 3), np.uint8), error.detail
    assert glimpse.shape == (16, 16, 3)
    assert glimpse.dtype == np.uint8
    assert " at 0x" not in detail, "the address of some object is no help to the caller"
    assert [str(warning.message) for warning in seen] == []


def test_the_files_themselves_are_fine() -> None:
    for data in FILES:
        assert ImageSource.open(data, limits=LIMITS).glimpse(16, 16).shape == (16, 16, 3)


@hostile
@given(st.sampled_from(FILES), st.data())
def test_any_truncation(data: bytes, draw: st.DataObject) -> None:
    serve(data[: draw.draw(st.integers(0, len(data) - 1))])


@hostile
@given(st.sampled_from(FILES), st.data())
def test_any_flipped_bytes(data: bytes, draw: st.DataObject) -> None:
    damaged = bytearray(data)
    # Most structure is in front: half of the flips go there.
    place = st.integers(0, min(len(data), 120) - 1) | st.integers(0, len(data) - 1)
    for at, flip in draw.draw(st.lists(st.tuples(place, st.integers(1, 255)), min_size=1, max_size=4)):
        damaged[at] ^= flip
    serve(bytes(damaged))


@hostile
@given(st.sampled_from(FILES), st.binary(min_size=1, max_size=12), st.data())
def test_any_bytes_in_between(data: bytes, extra: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data)))
    serve(data[:at] + extra + data[at:])


@hostile
@given(
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x40\0\0\0WEBPVP8X", b"BM"]), st.binary()
)
def test_any_bytes_behind_a_magic(magic: bytes, rest: bytes) -> None:
    serve(magic + rest)


@pytest.mark.parametrize("data", FILES)
def test_every_byte_of_the_first_hundred(data: bytes) -> None:
    for at in range(min(len(data), 100)):
        for value in (0, 0x7F, 0xFF):
            serve(data[:at] + bytes([value]) + data[at + 1 :])
