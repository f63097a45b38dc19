import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageOps

from service.errors import Malformed, TooLarge, UnsupportedMedia
from service.media.base import MediaType
from service.media.image import READABLE, ImageLimits, ImageSource

Encode = Callable[..., bytes]
LOSSLESS = [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {})]
FORMS = [*LOSSLESS, ("JPEG", {"quality": 95}), ("GIF", {})]


@pytest.mark.parametrize(("form", "options"), FORMS)
def test_opening_tells_kind_and_size(photo: Image.Image, encode: Encode, form: str, options: dict[str, object]) -> None:
    source = ImageSource.open(encode(photo, form, **options), content_type=f"image/{form.lower()}")
    assert (source.kind, source.width, source.height) == (f"image/{form.lower()}", 48, 32)
    assert (source.orientation, source.frames) == (1, 1)


def test_every_readable_kind_has_a_test_here() -> None:
    assert sorted(READABLE) == sorted(f"image/{form.lower()}" for form, _ in FORMS)


@pytest.mark.parametrize(("form", "options"), LOSSLESS)
def test_a_glimpse_of_the_own_size_is_the_picture(
    photo: Image.Image, encode: Encode, form: str, options: dict[str, object]
) -> None:
    glimpse = ImageSource.open(encode(photo, form, **options)).glimpse(32, 48)
    assert glimpse.flags.c_contiguous
    assert glimpse.dtype == np.uint8
    np.testing.assert_array_equal(glimpse, np.asarray(photo))


@pytest.mark.parametrize(("form", "options"), FORMS)
@pytest.mark.parametrize("size", [(16, 16), (64, 64), (32, 48), (7, 90)])
def test_glimpses_of_all_kinds_look_alike(
    photo: Image.Image, encode: Encode, form: str, options: dict[str, object], size: tuple[int, int]
) -> None:
    glimpse = ImageSource.open(encode(photo, form, **options)).glimpse(*size)
    reference = ImageSource.open(encode(photo, "PNG")).glimpse(*size)
    assert glimpse.shape == (*size, 3)
    assert np.abs(glimpse.astype(int) - reference).mean() < 6


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_glimpses_stand_upright(photo: Image.Image, encode: Encode, form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if form == "WEBP" else {}
    data = encode(photo, form, exif=exif.tobytes(), **lossless)
    turned = photo.copy()
    turned.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(turned))

    source = ImageSource.open(data)
    assert source.orientation == orientation
    assert (source.height, source.width) == expected.shape[:2]
    tolerance = 12 if form == "JPEG" else 0
    assert np.abs(source.glimpse(source.height, source.width).astype(int) - expected).max() <= tolerance
    squared = ImageSource.open(encode(Image.fromarray(expected), "PNG")).glimpse(16, 16)
    assert np.abs(source.glimpse(16, 16).astype(int) - squared).max() <= tolerance + 1


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_shown(encode: Encode, form: str) -> None:
    first, later = Image.new("RGB", (8, 8), "red"), [Image.new("RGB", (8, 8), c) for c in ("green", "blue")]
    lossless = {"lossless": True} if form == "WEBP" else {}
    data = encode(first, form, save_all=True, append_images=later, duration=100, **lossless)
    source = ImageSource.open(data)
    assert source.frames == 3
    assert (source.glimpse(8, 8) == (255, 0, 0)).all()
    with pytest.raises(TooLarge, match="3 frames, the limit is 2"):
        ImageSource.open(data, limits=ImageLimits(max_frames=2))


@pytest.mark.parametrize(("form", "options"), FORMS)
@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (ImageLimits(max_bytes=100), "bytes, the limit is 100"),
        (ImageLimits(max_pixels=48 * 32 - 1), "1536 pixels, the limit is 1535"),
        (ImageLimits(max_side=47), "48 pixels on a side, the limit is 47"),
    ],
)
def test_limits_hold_for_every_kind(
    photo: Image.Image, encode: Encode, form: str, options: dict[str, object], limits: ImageLimits, reason: str
) -> None:
    noisy = Image.effect_noise(photo.size, 200).convert("RGB")
    data = encode(noisy, form, **options)
    with pytest.raises(TooLarge, match=reason) as caught:
        ImageSource.open(data, limits=limits)
    assert caught.value.extra["value"] > caught.value.extra["limit"]


def test_limits_themselves_are_allowed(photo: Image.Image, encode: Encode) -> None:
    data = encode(photo, "PNG")
    ImageSource.open(data, limits=ImageLimits(max_bytes=len(data), max_pixels=48 * 32, max_side=48, max_frames=1))


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


BOMBS = {
    "PNG": b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(bytes(1000)))
    + chunk(b"IEND", b""),
    "PNG of one column": b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 2**31 - 1, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(bytes(1000)))
    + chunk(b"IEND", b""),
    "GIF": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b",\0\0\0\0\1\0\1\0\0\2\2D\1\0;",
    "GIF by its frame": b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\2\2D\1\0;",
    "WebP": b"RIFF\x1e\0\0\0WEBPVP8L\x05\0\0\0\x2f\xff\xff\xff\x0f" + bytes(10),
    "WebP canvas": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0\xff\xff\xff\xff\xff\xff" + bytes(10),
    "BMP": b"BM" + bytes(8) + struct.pack("<IIiiHHIIiiII", 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_by_their_header(name: str) -> None:
    with pytest.raises(TooLarge, match="pixels"):
        ImageSource.open(BOMBS[name])


def test_a_jpeg_bomb_is_refused_by_its_header(photo: Image.Image, encode: Encode) -> None:
    data = encode(photo, "JPEG")
    frame = data.index(b"\xff\xc0") + 5
    with pytest.raises(TooLarge, match="pixels"):
        ImageSource.open(data[:frame] + struct.pack(">HH", 65_000, 65_000) + data[frame + 4 :])


def test_pillows_own_limit_neither_warns_nor_refuses_below_ours(encode: Encode) -> None:
    data = encode(Image.new("1", (10_000, 9_500)), "PNG")  # 95 million pixels; Pillow's Image.open warns above 89
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        source = ImageSource.open(data, limits=ImageLimits(max_pixels=100_000_000))
    assert (source.width, source.height, seen) == (10_000, 9_500, [])


@pytest.mark.parametrize(("form", "options"), FORMS)
def test_mislabelled_images_are_refused(
    photo: Image.Image, encode: Encode, form: str, options: dict[str, object]
) -> None:
    data, wrong = encode(photo, form, **options), "image/png" if form != "PNG" else "image/jpeg"
    with pytest.raises(UnsupportedMedia, match=f"declared {wrong}, but the bytes are image/{form.lower()}"):
        ImageSource.open(data, content_type=wrong)


def test_kinds_that_are_known_but_not_read_are_refused_by_name(photo: Image.Image, encode: Encode) -> None:
    for form in ("TIFF", "AVIF", "PDF"):
        with pytest.raises(UnsupportedMedia, match=form.lower()):
            ImageSource.open(encode(photo, form))


def test_an_empty_body_is_malformed() -> None:
    with pytest.raises(Malformed, match="empty"):
        ImageSource.open(b"", content_type="image/png")


def test_opening_decodes_nothing_and_damage_shows_at_the_glimpse(photo: Image.Image, encode: Encode) -> None:
    data = encode(photo, "JPEG")
    source = ImageSource.open(data[:-20])
    with pytest.raises(Malformed, match="broken image/jpeg: Premature end of JPEG file"):
        source.glimpse(32, 48)


@pytest.mark.parametrize(("form", "options"), FORMS)
def test_many_threads_may_glimpse_one_source(
    photo: Image.Image, encode: Encode, form: str, options: dict[str, object]
) -> None:
    source = ImageSource.open(encode(photo, form, **options))
    expected = source.glimpse(20, 20)
    with ThreadPoolExecutor(8) as pool:
        for glimpse in pool.map(lambda _: source.glimpse(20, 20), range(40)):
            np.testing.assert_array_equal(glimpse, expected)


def test_a_source_is_a_value(photo: Image.Image, encode: Encode) -> None:
    data = encode(photo, "PNG")
    assert ImageSource.open(data) == ImageSource.open(data)
    assert ImageSource.open(data).kind is MediaType.PNG
