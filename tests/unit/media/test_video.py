"""Video sources: right frames by any way, and little decoded for them."""

from __future__ import annotations

import gc
import io
import weakref
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.errors import Malformed, RequestError, TooLarge, UnsupportedMedia
from service.media.base import MediaType
from service.media.uploads import Spool, Writer
from service.media.video import VideoLimits, VideoSource
from service.package.glimpses import FrameGlimpse, FramesGlimpse, ImageGlimpse
from tests import clips

SHARP = {"b": "4000000"}
# Pauses, bursts, and a first frame that is not at 0.
VARIABLE_MS = [500 + 10 * n + 2 * n * n + (3000 if n > 30 else 0) for n in range(50)]
FORMS: dict[str, dict[str, Any]] = {
    "h264 with B-frames": {},
    "h264 without": {"options": {"crf": "10", "g": "25", "bf": "0"}},
    "one key frame": {"options": {"crf": "10", "g": "1000", "bf": "3"}},
    "all key frames": {"options": {"crf": "10", "g": "1"}},
    "open groups": {"options": {"crf": "10", "g": "12", "bf": "3", "x264-params": "open-gop=1"}},
    "variable rate": {"times_ms": VARIABLE_MS},
    "fragmented": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "with sound": {"audio": True},
    "matroska": {"container": "matroska"},
    "variable matroska": {"container": "matroska", "times_ms": VARIABLE_MS},
    "hevc": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=20"}},
    "vp9": {"codec": "libvpx-vp9", "container": "webm", "options": {"g": "20"}},
    "mpeg4": {"codec": "mpeg4", "options": SHARP},
    "avi": {"codec": "mpeg4", "container": "avi", "options": SHARP},
    "mjpeg": {"codec": "mjpeg", "container": "avi", "pix_fmt": "yuvj420p", "options": SHARP},
}


def frame(height: int = 24, width: int = 32) -> FrameGlimpse:
    return FrameGlimpse(glimpse="frame", height=height, width=width)


def frames(count: int, height: int = 12, width: int = 16) -> FramesGlimpse:
    return FramesGlimpse(glimpse="frames", count=count, height=height, width=width)


def places(*shares: float) -> NDArray[np.float32]:
    return np.array(shares, np.float32)[:, None]


def numbers(source: VideoSource, *shares: float) -> list[int]:
    return [clips.number(pixels) for pixels in source.look(frame(), places(*shares))]


@pytest.fixture(scope="module")
def plain() -> bytes:
    return clips.clip()


@pytest.fixture(scope="module")
def long() -> bytes:
    """Ten seconds, a key frame in each."""
    return clips.clip([clips.picture(n % 64) for n in range(250)])


@pytest.mark.parametrize("form", FORMS)
def test_the_frame_of_a_moment_is_the_last_one_due_by_then_whatever_was_read_before(form: str) -> None:
    data = clips.clip(**FORMS[form])
    due = clips.decoded(data)
    rng = np.random.default_rng(3)
    ways = (rng.uniform(size=25), np.sort(rng.uniform(size=25)), np.linspace(1, 0, 9), [0, 1, 0, 0.5, 0.5])
    source = VideoSource.open(data)
    assert source.duration_s == pytest.approx(due[-1][0], abs=0.4)  # VFR is told short by muxers
    for shares in ways:
        at = places(*shares)
        shown, told = source.look(frame(), at), source.tells(frame(), at)
        for share, pixels, tell in zip(at[:, 0], shown, told, strict=True):
            # Half a tick of slack: moments are rounded to the container's clock.
            now = float(share) * source.duration_s
            wanted = {number for late in (-1e-3, 1e-3) for number in [last_due(due, now + late)]}
            assert min(abs(clips.number(pixels) - due[number][1]) for number in wanted) <= 1
            assert any(tell["time_s"] == pytest.approx(due[number][0], abs=2e-3) for number in wanted)


def last_due(due: list[tuple[float, int]], now: float) -> int:
    return max((place for place, (time, _) in enumerate(due) if time <= now), default=0)


@pytest.mark.parametrize("form", FORMS)
def test_frames_for_a_scorer_are_of_their_moments_or_of_the_key_frame_just_before(form: str) -> None:
    data = clips.clip(**FORMS[form])
    due = clips.decoded(data)
    source = VideoSource.open(data)
    shown = source.look(frames(6), None)
    assert (shown.shape, shown.dtype) == ((1, 6, 12, 16, 3), np.uint8)
    [told] = source.tells(frames(6), None)
    for place, (pixels, time_s) in enumerate(zip(shown[0], told["time_s"], strict=True)):
        moment, step = (place + 0.5) / 6 * source.duration_s, source.duration_s / 6
        shown_at = last_due(due, time_s + 1e-3)
        assert clips.number(pixels) == pytest.approx(due[shown_at][1], abs=1)
        assert last_due(due, moment - step / 2 - 1e-3) <= shown_at <= last_due(due, moment + 1e-3)
    np.testing.assert_array_equal(shown, VideoSource.open(data).look(frames(6), None))


def test_a_few_looks_decode_a_small_part(long: bytes) -> None:
    source = VideoSource.open(long)
    assert source.work.frames == 0
    assert numbers(source, 0.105, 0.505, 0.905) == [26, 62, 34]
    assert source.work.frames < 40


def test_reading_on_seeks_no_more(long: bytes) -> None:
    source = VideoSource.open(long)
    numbers(source, 0.5)
    before = source.work.seeks
    numbers(source, *(0.5 + 0.004 * np.arange(12)))
    assert source.work.seeks == before
    assert source.work.frames <= 30


def test_the_same_moment_again_costs_nothing(plain: bytes) -> None:
    source = VideoSource.open(plain)
    numbers(source, 0.5)
    before = source.work.frames
    numbers(source, 0.5, 0.5)
    assert source.work.frames == before


def test_key_frames_are_decoded_alone_where_they_will_do() -> None:
    source = VideoSource.open(clips.clip([clips.picture(n % 64) for n in range(250)], options={"g": "10", "bf": "3"}))
    source.look(frames(10), None)
    assert source.work.frames <= 10


def test_scorers_get_small_frames_from_codecs_that_can_leave_out_detail() -> None:
    pictures = [clips.picture(n, 512, 384) for n in range(10)]
    source = VideoSource.open(clips.clip(pictures, **{**FORMS["mjpeg"], "options": {"b": "90000000"}}))
    [small], large = source.look(frames(4, 48, 64), None), source.look(frame(48, 64), places(*(np.arange(4) + 0.5) / 4))
    assert sorted(source._heads) == [0, 3]
    assert np.abs(small.astype(int) - large).mean() < 3


@pytest.mark.parametrize(("rotation", "corner"), [(0, "left"), (90, "bottom"), (180, "right"), (270, "top")])
def test_frames_stand_upright(rotation: int, corner: str) -> None:
    source = VideoSource.open(clips.clip(2, rotation=rotation))
    size = (64, 48) if rotation % 180 else (48, 64)
    [shown] = source.look(frame(*size), places(0))
    red = {"left": shown[:, :6], "right": shown[:, -6:], "top": shown[:6], "bottom": shown[-6:]}
    assert {side: bool((edge[..., 0] > 180).mean() > 0.8) for side, edge in red.items()}[corner]


def test_an_anamorphic_picture_is_stretched() -> None:
    wide = VideoSource.open(clips.clip(2, aspect=Fraction(2, 1), container="matroska"))
    [shown] = wide.look(frame(48, 128), places(0))
    assert (shown[24, :14, 0] > 180).all()
    [cut] = wide.look(frame(48, 64), places(0))
    assert (cut[24, :, 0] < 100).all(), "the centre has no edge"


@pytest.mark.parametrize("size", [(24, 32), (48, 64), (96, 96), (7, 90), (1, 1)])
def test_frames_cover_the_size_and_are_cut_at_their_centre(plain: bytes, size: tuple[int, int]) -> None:
    [shown] = VideoSource.open(plain).look(frame(*size), places(0.51))
    assert shown.shape == (*size, 3)
    assert shown.flags.c_contiguous
    assert clips.number(shown) == 25


def test_a_strip_is_scaled_without_a_detour_over_what_is_cut_away() -> None:
    pictures = [clips.picture(n, 4096, 16) for n in range(2)]
    [shown] = VideoSource.open(clips.clip(pictures)).look(frame(224, 224), places(0.9))
    assert clips.number(shown) == 1


@pytest.mark.parametrize("share", [np.nan, np.inf, -1.0, 7.0])
def test_no_share_leads_out_of_the_video(plain: bytes, share: float) -> None:
    assert numbers(VideoSource.open(plain), share)[0] in (0, 49)


def test_without_a_router_s_word_the_stage_s_own_place_counts(plain: bytes) -> None:
    [shown] = VideoSource.open(plain).look(FrameGlimpse(glimpse="frame", height=8, width=8, at=(0.51,)), None)
    assert clips.number(shown) == 25
    for nowhere in (frame(), ImageGlimpse(glimpse="image", height=8, width=8)):
        with pytest.raises(ValueError, match="no glimpse"):
            VideoSource.open(plain).look(nowhere, None)


def test_what_was_seen_is_told_without_having_been_looked_at(plain: bytes) -> None:
    assert VideoSource.open(plain).tells(frame(), places(0.51)) == [{"time_s": pytest.approx(1.0)}]
    [told] = VideoSource.open(plain).tells(frames(2), None)
    assert all(0 <= moment - time_s <= 0.5 for moment, time_s in zip((0.5, 1.5), told["time_s"], strict=True))


def test_the_picture_for_people_is_a_strip_of_what_was_seen(plain: bytes) -> None:
    source = VideoSource.open(plain)
    seen = [*source.tells(frame(), places(0.51, 0.1)), *source.tells(frames(8), None)]
    drawn = source.picture(seen)
    assert drawn is not None
    strip = Image.open(io.BytesIO(drawn))
    assert strip.size == (8 * 130 - 2, 2 * 110 - 2)
    assert clips.number(np.asarray(strip)[:96, :128]) == 25
    assert clips.number(np.asarray(strip)[:96, 130:258]) == 5
    assert source.picture([]) is None


def test_decoders_may_be_closed_between_looks(plain: bytes) -> None:
    source = VideoSource.open(plain)
    before = numbers(source, 0.2, 0.8)
    assert source.cool()
    assert numbers(source, 0.8, 0.2) == before[::-1]


def test_many_threads_may_look(plain: bytes) -> None:
    source = VideoSource.open(plain)
    shares = np.random.default_rng(1).uniform(size=40)
    wanted = [numbers(VideoSource.open(plain), share) for share in shares]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda share: numbers(source, share), shares)) == wanted


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (VideoLimits(max_bytes=100), "bytes, the limit is 100"),
        (VideoLimits(max_seconds=1.9), "2 seconds, the limit is 1.9"),
        (VideoLimits(max_frames=49), "50 frames, the limit is 49"),
        (VideoLimits(max_pixels=3071), "3,072 pixels, the limit is 3,071"),
        (VideoLimits(max_side=63), "64 pixels on a side, the limit is 63"),
    ],
)
def test_limits_are_held_against_the_header(plain: bytes, limits: VideoLimits, said: str) -> None:
    with pytest.raises(TooLarge, match=said) as refused:
        VideoSource.open(plain, limits=limits)
    assert refused.value.extra["limit"] < refused.value.extra["value"]


def test_a_video_at_its_limits_is_taken(plain: bytes) -> None:
    limits = VideoLimits(max_bytes=len(plain), max_seconds=2, max_frames=50, max_pixels=3072, max_side=64)
    assert numbers(VideoSource.open(plain, limits=limits), 1)[0] == 49


def test_decoding_has_a_limit_in_time(plain: bytes) -> None:
    source = VideoSource.open(plain, limits=VideoLimits(max_decode_s=0))
    with pytest.raises(TooLarge, match="more than 0 s of processor time"):
        source.look(frame(), places(0.9))


def test_a_frame_larger_than_its_header_says_is_refused(plain: bytes) -> None:
    small, large = clips.clip(2), clips.clip([clips.picture(n, 640, 480) for n in range(2)])
    # The large one's samples under the small one's header, as it would be sent to get around the limit.
    lying = small.replace(small[small.index(b"avcC") :][:60], large[large.index(b"avcC") :][:60])
    try:
        assert VideoSource.open(lying, limits=VideoLimits(max_pixels=4000)).look(frame(), places(0)).shape == (
            1,
            24,
            32,
            3,
        )
    except RequestError as refused:
        assert refused.status in (400, 413)


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_sound_alone_is_no_video(container: str) -> None:
    with pytest.raises(UnsupportedMedia, match="only audio"):
        VideoSource.open(clips.sound(container))


def test_a_codec_that_is_not_read_is_named() -> None:
    with pytest.raises(UnsupportedMedia, match="ffv1") as refused:
        VideoSource.open(clips.clip(2, codec="ffv1", container="matroska", options={}))
    assert "h264" in refused.value.extra["accepted"]


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(40), b"#EXTM3U\nhttp://localhost/\n"])
def test_what_is_no_video_is_refused(data: bytes) -> None:
    with pytest.raises((UnsupportedMedia, Malformed)):
        VideoSource.open(data)


@pytest.mark.parametrize("form", ["h264 with B-frames", "with sound", "matroska", "vp9", "avi", "fragmented"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.95, 0.999])
def test_a_video_that_was_cut_off_is_refused_at_its_header(form: str, share: float) -> None:
    data = clips.clip(**FORMS[form])
    with pytest.raises(Malformed, match=r"truncated|broken|empty|known"):
        VideoSource.open(data[: int(share * len(data))])


def test_declared_and_found_must_agree(plain: bytes) -> None:
    for fine in ("video/mp4", "video/quicktime", "video/x-m4v", None, "application/octet-stream"):
        assert VideoSource.open(plain, content_type=fine)._kind is MediaType.MP4
    for wrong in ("video/webm", "image/png", "video/mpeg"):
        with pytest.raises(UnsupportedMedia):
            VideoSource.open(plain, content_type=wrong)


def test_a_video_that_does_not_say_how_long_it_is_is_measured() -> None:
    data = clips.clip(container="webm", codec="libvpx-vp9", options={"g": "20"}, container_options={"live": "1"})
    source = VideoSource.open(data)
    assert source.duration_s == pytest.approx(2.0, abs=0.05)
    assert numbers(source, 0.5)[0] in (24, 25)
    with pytest.raises(TooLarge, match="seconds"):
        VideoSource.open(data, limits=VideoLimits(max_seconds=1))


def test_an_upload_goes_as_its_source_does_without_waiting_for_the_collector(plain: bytes) -> None:
    writer = Writer(Spool(1 << 20, 1))
    writer.write(plain)
    upload = writer.finish()
    gone = weakref.ref(upload)
    gc.disable()
    try:
        source = VideoSource.open(upload)
        assert numbers(source, 0.5, 0.9)
        del source, upload
        assert gone() is None
    finally:
        gc.enable()
