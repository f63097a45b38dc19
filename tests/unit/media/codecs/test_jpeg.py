import struct
from collections.abc import Callable

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from service.errors import Malformed, TooLarge, UnsupportedMedia
from service.media.image import ImageSource

Encode = Callable[..., bytes]


def glimpse(data: bytes, height: int = 32, width: int = 48) -> np.ndarray:
    return ImageSource.open(data).glimpse(height, width)


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"keep_rgb": True}, {"optimize": True}],
)
def test_pixels_of_the_own_size_are_those_that_models_are_trained_on(
    photo: Image.Image, encode: Encode, options: dict[str, object]
) -> None:
    data = encode(photo, "JPEG", **options)
    trained_on = simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False)
    np.testing.assert_array_equal(glimpse(data), trained_on)


def test_greyscale_is_spread_over_three_channels(photo: Image.Image, encode: Encode) -> None:
    grey = glimpse(encode(photo.convert("L"), "JPEG"))
    assert (grey == grey[..., :1]).all()
    assert np.abs(grey[..., 0].astype(int) - np.asarray(photo.convert("L"))).max() < 8


@pytest.mark.parametrize("size", [(32, 48), (10, 10)])
def test_cmyk_in_adobes_inverted_convention_is_shown_in_its_colours(
    photo: Image.Image, encode: Encode, size: tuple[int, int]
) -> None:
    shown = glimpse(encode(photo.convert("CMYK"), "JPEG", quality=95), *size)
    assert np.abs(shown.astype(int) - glimpse(encode(photo, "PNG"), *size)).max() < 12


def test_ycck_is_shown_in_its_colours(photo: Image.Image, encode: Encode) -> None:
    inverted = 255 - np.asarray(photo.convert("CMYK"))
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(inverted), colorspace="CMYK", quality=95)
    assert simplejpeg.decode_jpeg_header(data)[2] == "YCCK"
    assert np.abs(glimpse(data).astype(int) - np.asarray(photo)).max() < 12


@pytest.mark.parametrize("cmyk", [False, True])
def test_large_pictures_are_decoded_smaller_and_nobody_sees_it(
    smooth_picture: Callable[[int, int], Image.Image], encode: Encode, cmyk: bool
) -> None:
    large = smooth_picture(1203, 901)
    data = encode(large.convert("CMYK") if cmyk else large, "JPEG", quality=95)
    for size in ((32, 32), (64, 20), (100, 300)):
        assert np.abs(glimpse(data, *size).astype(int) - glimpse(encode(large, "PNG"), *size)).max() < 8


def test_no_truncation_is_let_through(photo: Image.Image, encode: Encode) -> None:
    for options in ({}, {"progressive": True}):
        data = encode(photo, "JPEG", **options)
        for length in range(3, len(data)):
            with pytest.raises(Malformed, match="broken image/jpeg"):
                glimpse(data[:length])


def test_what_follows_the_image_is_ignored_as_in_motion_photos(photo: Image.Image, encode: Encode) -> None:
    data = encode(photo, "JPEG")
    np.testing.assert_array_equal(glimpse(data + b"\xff\xda\0\0\0\x18ftypmp42" * 300), glimpse(data))


@pytest.mark.parametrize("size", [(32, 48), (16, 16), (4, 4)])
def test_harmless_oddities_are_read_as_by_everybody_else(
    photo: Image.Image, encode: Encode, size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    data = encode(photo, "JPEG", exif=exif.tobytes())
    scan = data.index(b"\xff\xda") + 11
    profile = b"\xff\xe2\0\x14ICC_PROFILE\0\x07\x02junk"
    odd = {
        "a broken colour profile": data[:2] + profile + data[2:],
        "padding before the end": data[:-2] + bytes(5) + data[-2:],
        "odd scan parameters": data[: scan + 1] + b"\0" + data[scan + 2 :],
        "unknown version of JFIF": data.replace(b"JFIF\0\1", b"JFIF\0\7"),
    }
    for name, body in odd.items():
        with pytest.raises(ValueError, match=r"JPEG|JFIF"):
            simplejpeg.decode_jpeg(body)
        assert np.abs(glimpse(body, *size).astype(int) - glimpse(data, *size)).max() <= 1, name
        with pytest.raises(Malformed):
            glimpse(body[:-40], *size)


@pytest.mark.parametrize(("factors", "blocks"), [(0x31, 4 * 12 * 5), (0x14, 12 * 3 * 6)])
def test_exotic_subsampling_is_left_to_pillow(encode: Encode, factors: int, blocks: int) -> None:
    data = bytearray(encode(Image.new("RGB", (96, 96)), "JPEG", subsampling=0))
    data[data.index(b"\xff\xc0") + 11] = factors
    scan = data.index(b"\xff\xda")
    for component in range(3):
        data[scan + 6 + 2 * component] = 0  # one Huffman table for all, so that the blocks' order doesn't matter
    # A block of plain grey is 00 (no step in brightness), 1010 (nothing else).
    grey = int("001010" * blocks, 2).to_bytes(6 * blocks // 8, "big")
    with pytest.raises((ValueError, KeyError)):
        simplejpeg.decode_jpeg_header(bytes(data))
    for size in (96, 10):
        assert (glimpse(bytes(data[: scan + 14]) + grey + b"\xff\xd9", size, size) == 128).all()


def test_scan_bombs_are_refused(photo: Image.Image, encode: Encode) -> None:
    data = encode(photo, "JPEG", progressive=True)
    scans = data[data.index(b"\xff\xda") : -2]
    ImageSource.open(data[:-2] + scans * 8 + data[-2:])
    with pytest.raises(TooLarge, match="more than 100 scans"):
        ImageSource.open(data[:-2] + scans * 20 + data[-2:])


@pytest.mark.parametrize(("marker", "precision", "reason"), [(0xC1, 12, "12-bit"), (0xC3, 8, "lossless")])
def test_kinds_of_jpeg_that_nobody_reads_are_refused_by_name(
    photo: Image.Image, encode: Encode, marker: int, precision: int, reason: str
) -> None:
    data = bytearray(encode(photo, "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 1], data[frame + 4] = marker, precision
    with pytest.raises(UnsupportedMedia, match=reason):
        ImageSource.open(bytes(data))


def test_a_size_of_zero_is_malformed(photo: Image.Image, encode: Encode) -> None:
    data = encode(photo, "JPEG")
    frame = data.index(b"\xff\xc0") + 5
    with pytest.raises(Malformed):
        ImageSource.open(data[:frame] + struct.pack(">HH", 0, 48) + data[frame + 4 :])


def test_endless_segments_end(photo: Image.Image, encode: Encode) -> None:
    with pytest.raises(Malformed, match="more than 262144 parts"):
        ImageSource.open(b"\xff\xd8" + b"\xff\xfe\0\2" * 300_000)


def test_long_runs_of_fill_bytes_cost_no_more_than_their_length() -> None:
    with pytest.raises(Malformed):
        ImageSource.open(b"\xff\xd8" + b"\xff" * 5_000_000 + b"\0")
