import numpy as np
import pytest
from PIL import Image

from service.media.pixels import cut, eight_bits, fit, opaque, within

RED, WHITE, HALF_RED = (255, 0, 0), (255, 255, 255), (255, 127, 127)


def test_alpha_shows_white_paper() -> None:
    picture = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        picture.putpixel((x, 0), (255, 0, 0, alpha))
    assert np.asarray(opaque(picture)).tolist() == [[list(WHITE), list(HALF_RED), list(RED)]]


@pytest.mark.parametrize(
    ("mode", "colour", "shown"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (0, 128), (127, 127, 127)),
        ("PA", (0, 0), (255, 255, 255)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
        ("I;16", 128 * 257, (128, 128, 128)),
        ("I", 40 * 256, (40, 40, 40)),
        ("RGB", (1, 2, 3), (1, 2, 3)),
    ],
)
def test_every_mode_becomes_rgb(mode: str, colour: int | tuple[int, ...], shown: tuple[int, ...]) -> None:
    picture = opaque(Image.new(mode, (2, 2), colour))
    assert picture.mode == "RGB"
    assert picture.getpixel((1, 1)) == shown


def test_a_palette_keeps_its_transparent_entry() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.putpixel((1, 0), 1)
    picture.info["transparency"] = 0
    assert np.asarray(opaque(picture)).tolist() == [[[255, 255, 255], [0, 255, 0]]]


@pytest.mark.parametrize("widen", [256, 257])
def test_sixteen_bits_become_the_eight_that_they_were_widened_from(widen: int) -> None:
    values = np.arange(256, dtype=np.uint16).reshape(16, 16)
    np.testing.assert_array_equal(np.asarray(eight_bits(Image.fromarray(values * widen))), values)


def test_a_picture_of_the_asked_size_keeps_every_bit() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (17, 23, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fit(pixels, 17, 23), pixels)
    np.testing.assert_array_equal(fit(Image.fromarray(pixels), 17, 23), pixels)


@pytest.mark.parametrize("shape", [(40, 120), (120, 40), (9, 200), (10, 10), (1, 65_000), (1, 1)])
@pytest.mark.parametrize("size", [(32, 32), (20, 50), (1, 1)])
def test_any_shape_fits_any_size(shape: tuple[int, int], size: tuple[int, int]) -> None:
    glimpse = fit(np.full((*shape, 3), 9, np.uint8), *size)
    assert glimpse.shape == (*size, 3)
    assert glimpse.dtype == np.uint8
    assert (glimpse == 9).all()


def test_the_centre_is_cut_out_of_a_wide_picture() -> None:
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = 200
    assert (fit(wide, 32, 32) == 200).all()
    assert (fit(np.swapaxes(wide, 0, 1).copy(), 32, 32) == 200).all()


def test_scaling_down_averages_instead_of_picking() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(fit(stripes, 32, 32)[:, 2:-2].astype(int) - 127).max() <= 2


def test_scaling_and_mirroring_commute_on_odd_sizes() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    mirrored = np.ascontiguousarray(pixels[:, ::-1])
    assert np.abs(fit(mirrored, 16, 16)[:, ::-1].astype(int) - fit(pixels, 16, 16)).max() <= 1


def test_a_box_is_scaled_like_a_picture_of_its_own_but_for_its_edges() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    alone = fit(pixels[16:48, 20:68].copy(), 16, 24)
    np.testing.assert_array_equal(cut(pixels, (16.0, 20.0, 48.0, 68.0), 16, 24)[2:-2, 2:-2], alone[2:-2, 2:-2])


def test_a_share_of_a_box_stays_inside_of_it() -> None:
    assert within((0.0, 10.0, 100.0, 110.0), (0.25, 0.5, 0.75, 1.0)) == (25.0, 60.0, 75.0, 110.0)
    assert within((0.0, 0.0, 10.0, 10.0), (-3.0, -1.0, 9.0, 2.0)) == (0.0, 0.0, 10.0, 10.0)
    top, left, bottom, right = within((0.0, 0.0, 10.0, 10.0), (2.0, 0.7, 3.0, 0.2))
    assert 0 <= top < bottom <= 10
    assert 0 <= left < right <= 10
