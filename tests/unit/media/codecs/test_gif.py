import struct
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from service.errors import Malformed, TooLarge
from service.media.image import ImageSource

Encode = Callable[..., bytes]


def animation(encode: Encode, count: int) -> bytes:
    frames = [Image.new("L", (4, 4), i % 256) for i in range(count)]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=20)


def test_colours_and_transparency(encode: Encode) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    assert ImageSource.open(encode(picture, "GIF")).glimpse(1, 2).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    source = ImageSource.open(encode(picture, "GIF", transparency=0))
    assert source.glimpse(1, 2).tolist() == [[[255, 255, 255], [0, 0, 255]]]


def test_interlaced_and_plain_are_the_same(photo: Image.Image, encode: Encode) -> None:
    plain, interlaced = (ImageSource.open(encode(photo, "GIF", interlace=i)).glimpse(32, 48) for i in (0, 1))
    np.testing.assert_array_equal(plain, interlaced)


def test_a_frame_that_reaches_over_the_screen_widens_the_picture(encode: Encode) -> None:
    data = encode(Image.new("L", (6, 5), 80), "GIF")
    source = ImageSource.open(data[:6] + struct.pack("<HH", 2, 2) + data[10:])
    assert (source.width, source.height) == (6, 5)
    assert (source.glimpse(5, 6) == 80).all()


def test_damage_behind_the_first_frame_does_not_matter(encode: Encode) -> None:
    data = animation(encode, 5)
    whole = ImageSource.open(data)
    assert whole.frames == 5
    cut = ImageSource.open(data[: data.rindex(b",") + 4])
    assert cut.frames < 5
    np.testing.assert_array_equal(cut.glimpse(4, 4), whole.glimpse(4, 4))


def test_a_truncated_first_frame_is_malformed(photo: Image.Image, encode: Encode) -> None:
    data = encode(photo, "GIF")
    for length in range(6, len(data) - 2, 7):
        with pytest.raises(Malformed, match="broken image/gif"):
            ImageSource.open(data[:length]).glimpse(32, 48)


def test_long_animations_are_refused(encode: Encode) -> None:
    assert ImageSource.open(animation(encode, 1000)).frames == 1000
    with pytest.raises(TooLarge, match="1001 frames"):
        ImageSource.open(animation(encode, 1001))


def test_comments_are_stepped_over_and_bounded(encode: Encode) -> None:
    data = encode(Image.new("L", (4, 4), 80), "GIF")
    frame = data.rindex(b",")
    comment = b"!\xfe" + b"\xff" * 256 * 200 + b"\0"
    assert (ImageSource.open(data[:frame] + comment + data[frame:]).glimpse(4, 4) == 80).all()
    endless = b"!\xfe" + b"\1a" * 300_000 + b"\0"
    begin = time.process_time()
    with pytest.raises(Malformed, match="more than 262144 parts"):
        ImageSource.open(data[:frame] + endless + data[frame:])
    assert time.process_time() - begin < 2


def test_a_gif_without_an_image_is_malformed() -> None:
    with pytest.raises(Malformed, match="no image"):
        ImageSource.open(b"GIF89a" + struct.pack("<HHBBB", 2, 2, 0, 0, 0) + b";")
