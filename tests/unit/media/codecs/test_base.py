import struct
import zlib

import pytest
from PIL import Image

from service.errors import Malformed, TooLarge
from service.media.codecs.base import MAX_STEPS, Cursor, Header, decoding, same_size


def test_a_cursor_takes_and_skips() -> None:
    cursor = Cursor(b"abcdef", at=1)
    assert (cursor.take(2), cursor.skip(1), cursor.take(2), cursor.at) == (b"bc", 3, b"ef", 6)


def test_a_cursor_never_leaves_its_bytes() -> None:
    with pytest.raises(Malformed, match="truncated: 7 bytes or more are announced, 6 came"):
        Cursor(b"abcdef").skip(7)


def test_a_cursor_does_not_walk_for_ever() -> None:
    cursor = Cursor(b"")
    for _ in range(MAX_STEPS):
        cursor.take(0)
    with pytest.raises(Malformed, match="parts"):
        cursor.take(0)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("image file is truncated"), "image file is truncated"),
        (struct.error("unpack requires 4 bytes"), "the data end too early"),
        (IndexError("index out of range"), "the data end too early"),
        (zlib.error("Error -3"), "compressed data are damaged"),
        (MemoryError(), "MemoryError"),
        (SyntaxError("not a PNG file"), "not a PNG file"),
        (ValueError("x" * 999), "x" * 200),
        (Malformed("no image in it"), "no image in it"),
    ],
)
def test_whatever_a_decoder_raises_becomes_malformed_with_its_reason(error: Exception, reason: str) -> None:
    with pytest.raises(Malformed) as caught, decoding("image/png"):
        raise error
    assert caught.value.detail == f"broken image/png: {reason}"


def test_other_errors_of_ours_pass_as_they_are() -> None:
    with pytest.raises(TooLarge, match=r"^too many$"), decoding("image/png"):
        raise TooLarge("too many")


def test_header_and_decoder_must_agree_on_the_size() -> None:
    same_size(Image.new("L", (3, 2)), Header(3, 2))
    with pytest.raises(Malformed, match="contradictory"):
        same_size(Image.new("L", (3, 2)), Header(2, 3))
