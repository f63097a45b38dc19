import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from service.errors import Malformed
from service.media.image import ImageSource

Encode = Callable[..., bytes]
MAGIC = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG from rows that carry their filter byte already; `extra` are whole chunks before the data."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return MAGIC + head + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def glimpse(data: bytes) -> list[list[list[int]]]:
    source = ImageSource.open(data)
    shown: list[list[list[int]]] = source.glimpse(source.height, source.width).tolist()
    return shown


def test_sixteen_bit_grey_is_scaled_not_clipped(encode: Encode) -> None:
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    shown = ImageSource.open(encode(Image.fromarray(ramp), "PNG")).glimpse(8, 8)
    np.testing.assert_array_equal(shown, np.repeat((ramp >> 8)[..., None], 3, axis=-1))


def test_sixteen_bit_colours_are_scaled() -> None:
    assert glimpse(png(1, 1, 16, 2, b"\0" + bytes.fromhex("ffff 8080 0101"))) == [[[255, 128, 1]]]
    assert glimpse(png(1, 1, 16, 6, b"\0" + bytes.fromhex("ffff 8080 0101 ffff"))) == [[[255, 128, 1]]]
    assert glimpse(png(1, 1, 16, 4, b"\0" + bytes.fromhex("8080 0000"))) == [[[255, 255, 255]]]


def test_low_depths_of_grey_are_spread() -> None:
    assert glimpse(png(4, 1, 2, 0, b"\0\x1b")) == [[[v] * 3 for v in (0, 85, 170, 255)]]
    assert glimpse(png(2, 1, 1, 0, b"\0\x40")) == [[[0] * 3, [255] * 3]]


@pytest.mark.parametrize(
    ("depth", "colour", "key", "row", "shown"),
    [
        (1, 0, "0000", "40", [255, 255]),
        (2, 0, "0001", "40", [255, 0]),
        (4, 0, "0003", "34", [255, 68]),
        (8, 0, "0003", "0304", [255, 4]),
        (16, 0, "0301", "0301 0302", [255, 3]),
    ],
)
def test_a_key_colour_of_grey_is_transparent_at_every_depth(
    depth: int, colour: int, key: str, row: str, shown: list[int]
) -> None:
    data = png(2, 1, depth, colour, b"\0" + bytes.fromhex(row), chunk(b"tRNS", bytes.fromhex(key)))
    assert [pixel[0] for pixel in glimpse(data)[0]] == shown


@pytest.mark.parametrize(
    ("depth", "key", "row"), [(8, "000100020003", "010203 010204"), (16, "010002000300", "010002000300 010002000400")]
)
def test_a_key_colour_of_rgb_is_transparent(depth: int, key: str, row: str) -> None:
    data = png(2, 1, depth, 2, b"\0" + bytes.fromhex(row), chunk(b"tRNS", bytes.fromhex(key)))
    assert glimpse(data) == [[[255, 255, 255], [1, 2, 4]]]


def test_palettes_show_their_colours_and_their_transparency() -> None:
    palette = chunk(b"PLTE", bytes.fromhex("ff0000 00ff00 0000ff"))
    rows = b"\0\0\1\2"
    assert glimpse(png(3, 1, 8, 3, rows, palette)) == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]
    one, graded = chunk(b"tRNS", b"\xff\0"), chunk(b"tRNS", b"\xff\x80\0")
    assert glimpse(png(3, 1, 8, 3, rows, palette, one)) == [[[255, 0, 0], [255, 255, 255], [0, 0, 255]]]
    assert glimpse(png(3, 1, 8, 3, rows, palette, graded)) == [[[255, 0, 0], [127, 255, 127], [255, 255, 255]]]


def test_alpha_shows_white_paper(encode: Encode) -> None:
    for mode, colour in (("RGBA", (9, 9, 9, 0)), ("LA", (9, 0))):
        assert glimpse(encode(Image.new(mode, (1, 1), colour), "PNG")) == [[[255, 255, 255]]]


def test_an_interlaced_picture_is_read_whole() -> None:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 1))  # passes 1, 6 and 7 of Adam7
    data = MAGIC + head + chunk(b"IDAT", zlib.compress(b"\0\x0a\0\x14\0\x1e\x28")) + chunk(b"IEND", b"")
    assert [[pixel[0] for pixel in row] for row in glimpse(data)] == [[10, 20], [30, 40]]


def test_no_truncation_is_let_through(photo: Image.Image, encode: Encode) -> None:
    data = encode(photo, "PNG")
    for length in range(8, len(data)):
        with pytest.raises(Malformed, match="broken image/png"):
            glimpse(data[:length])


def test_no_flipped_byte_of_the_picture_is_let_through(photo: Image.Image, encode: Encode) -> None:
    data = encode(photo, "PNG")
    for at in range(data.index(b"IDAT") + 4, len(data) - 12):
        with pytest.raises(Malformed, match="checksum"):
            glimpse(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])


@pytest.mark.parametrize("rows", [b"", b"\0"])
def test_data_that_end_before_the_picture_does_are_malformed(rows: bytes) -> None:
    with pytest.raises(Malformed, match="broken image/png"):
        glimpse(png(2, 2, 8, 0, rows))


@pytest.mark.parametrize(
    ("width", "height", "depth", "colour"), [(0, 1, 8, 0), (1, 0, 8, 0), (1, 1, 3, 0), (1, 1, 8, 5)]
)
def test_headers_that_make_no_sense_are_malformed(width: int, height: int, depth: int, colour: int) -> None:
    with pytest.raises(Malformed):
        glimpse(png(width, height, depth, colour, b"\0\0"))


def test_a_second_header_of_another_size_is_malformed() -> None:
    other = chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 9000, 8, 0, 0, 0, 0))
    with pytest.raises(Malformed, match="contradictory sizes, 1x1 and 9000x9000"):
        glimpse(png(1, 1, 8, 0, b"\0\0", other))


def test_metadata_bombs_are_stepped_over() -> None:
    packed = zlib.compress(bytes(1_000_000), 9)
    icc, text = chunk(b"iCCP", b"x\0\0" + packed), chunk(b"zTXt", b"x\0\0" + packed)
    huge = chunk(b"iTXt", b"x\0\1\0\0\0" + zlib.compress(bytes(50_000_000), 9))
    data = png(1, 1, 8, 0, b"\0\7", *[icc] * 2000, *[text] * 200, huge)
    begin = time.process_time()
    assert glimpse(data) == [[[7, 7, 7]]]
    assert time.process_time() - begin < 1  # Pillow by itself: many seconds for the profiles, then a refusal


def test_metadata_of_honest_files_do_not_matter(photo: Image.Image, encode: Encode) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "a fine picture", zip=True)
    data = encode(photo, "PNG", pnginfo=info, icc_profile=b"not even a profile", dpi=(300, 300))
    assert glimpse(data) == np.asarray(photo).tolist()


def test_endless_chunks_end() -> None:
    with pytest.raises(Malformed, match="more than 262144 parts"):
        ImageSource.open(png(1, 1, 8, 0, b"\0\0", chunk(b"teXt", b"") * 200_000))


def test_an_animation_with_a_broken_control_chunk_is_still_a_picture() -> None:
    assert glimpse(png(1, 1, 8, 0, b"\0\7", chunk(b"acTL", bytes(8)))) == [[[7, 7, 7]]]
