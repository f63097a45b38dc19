from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.media.boxes import SIDE
from service.media.exif import swaps
from service.media.image import ImageSource
from service.media.source import PixelSource
from service.package.glimpses import CropGlimpse, ImageGlimpse

Encode = Callable[..., bytes]
WHOLE = ImageGlimpse(glimpse="image", height=16, width=16)
CROP = CropGlimpse(glimpse="crop", height=16, width=16)
ALL = np.array([[0, 0, 1, 1]], np.float32)
CORNERS = np.array([[0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1], [0.5, 0, 1, 0.5], [0.5, 0.5, 1, 1]], np.float32)


def test_a_crop_of_everything_is_the_glimpse(photo: Image.Image, encode: Encode) -> None:
    source = ImageSource.open(encode(photo, "PNG"))
    np.testing.assert_array_equal(source.look(CROP, ALL), source.look(WHOLE, None))


def test_crops_are_parts_of_the_centre_that_a_glimpse_shows(encode: Encode) -> None:
    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[:, 32:64] = np.kron(np.arange(1, 5).reshape(2, 2), np.ones((16, 16)))[..., None] * 50
    for source in (ImageSource.open(encode(Image.fromarray(pixels), "PNG")), PixelSource(pixels)):
        views = source.look(CROP, CORNERS)
        assert views.shape == (4, 16, 16, 3)
        assert [view[8, 8].tolist() for view in views] == [[50] * 3, [100] * 3, [150] * 3, [200] * 3]
        told = source.tells(CROP, CORNERS)
        assert [look["box"] for look in told] == [[0, 32, 16, 48], [0, 48, 16, 64], [16, 32, 32, 48], [16, 48, 32, 64]]
        assert source.tells(WHOLE, None) == [{"box": [0, 32, 32, 64], "size": [16, 16]}]


@pytest.mark.parametrize("orientation", [1, 6])
def test_places_can_be_shares_of_another_aspect(encode: Encode, orientation: int) -> None:
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[10:20, 30:] = 200
    exif, image = Image.Exif(), Image.fromarray(pixels)
    exif[0x0112] = orientation
    turned = image if orientation == 1 else image.transpose(Image.Transpose.ROTATE_90)
    tile = CropGlimpse(glimpse="crop", height=10, width=10, of=(15, 20))
    at = np.array([[1 / 3, 0.75, 2 / 3, 1]], np.float32)
    for source in (ImageSource.open(encode(turned, "PNG", exif=exif)), PixelSource(pixels)):
        assert (source.look(tile, at) == 200).all()
        assert source.tells(tile, at) == [{"box": [10, 30, 20, 40], "size": [10, 10]}]


def test_many_boxes_are_drawn_as_thin_frames(photo: Image.Image, encode: Encode) -> None:
    source = ImageSource.open(encode(photo, "PNG"))
    edges = np.linspace(0, 1, 6)
    tiles = np.array([[t, e, t + 0.2, e + 0.2] for t in edges[:-1] for e in edges[:-1]], np.float32)
    drawn = source.picture(source.tells(CROP, tiles))
    assert Image.open(BytesIO(drawn)).format == "PNG"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_crops_stand_upright(encode: Encode, photo: Image.Image, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = ImageSource.open(encode(photo, "PNG", exif=exif.tobytes()))
    whole = source.glimpse(source.height, source.width)
    assert whole.shape[:2] == ((48, 32) if swaps(orientation) else (32, 48))
    expected = PixelSource(whole).look(CROP, CORNERS)
    assert np.abs(source.look(CROP, CORNERS).astype(int) - expected).max() <= 1


def test_a_small_crop_of_a_large_jpeg_is_decoded_at_full_scale(
    smooth_picture: Callable[[int, int], Image.Image], encode: Encode
) -> None:
    pixels = np.asarray(smooth_picture(512, 512)).copy()
    pixels[100:116, 200:216] = np.random.default_rng(0).integers(0, 255, (16, 16, 1))
    source = ImageSource.open(encode(Image.fromarray(pixels), "JPEG", quality=98, subsampling=0))
    box = np.array([[100 / 512, 200 / 512, 116 / 512, 216 / 512]], np.float32)
    assert np.abs(source.look(CROP, box)[0].astype(int) - pixels[100:116, 200:216]).mean() < 6
    half = source.look(CROP, np.array([[0, 0, 0.5, 0.5]], np.float32))
    expected = PixelSource(pixels).look(CROP, np.array([[0, 0, 0.5, 0.5]], np.float32))
    assert np.abs(half.astype(int) - expected).mean() < 3


def test_the_picture_shows_a_frame_for_each_box(photo: Image.Image, encode: Encode) -> None:
    source = ImageSource.open(encode(photo, "JPEG"))
    seen = [*source.tells(WHOLE, None), *source.tells(CROP, CORNERS[:2])]
    drawn = Image.open(BytesIO(source.picture(seen) or b""))
    assert drawn.format == "PNG"
    assert max(drawn.size) == SIDE
    bare = np.asarray(Image.open(BytesIO(source.picture([]) or b"")).convert("RGB")).astype(int)
    assert (np.abs(np.asarray(drawn.convert("RGB")) - bare).max(axis=2) > 100).sum() > 1000


def test_points_are_told_and_drawn_as_dots(encode: Encode) -> None:
    frame = ImageGlimpse(glimpse="image", height=10, width=10)
    pixels = np.zeros((20, 40, 3), np.uint8)
    at = np.array([[0, 0, 0.25, 0.75, 0.5, 0], [0.5, 0.5, 0.999, 0.999, 0, 0.999]], np.float32)
    for source in (ImageSource.open(encode(Image.fromarray(pixels), "PNG")), PixelSource(pixels)):
        told = source.tells(frame, at)
        assert told == [{"points": [[0, 10], [5, 25], [10, 10]]}, {"points": [[10, 20], [19, 29], [0, 29]]}]
        plain, drawn = (
            np.asarray(Image.open(BytesIO(source.picture(seen) or b"")).convert("RGB"), int) for seen in ([], told)
        )
        lit = np.argwhere((drawn != plain).any(axis=2))
        scale = SIDE / 40
        wanted = {(int(y * scale), int(x * scale)) for look in told for y, x in look["points"]}
        assert {(y, x) for y, x in lit.tolist()} == wanted
