import pytest

from service.errors import Malformed, UnsupportedMedia
from service.media.base import MediaType, declared, identify, sniff

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
JPEG = b"\xff\xd8\xff\xe0" + bytes(20)
IMAGES = (MediaType.JPEG, MediaType.PNG)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (JPEG, "image/jpeg"),
        (PNG, "image/png"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
        (b"GIF87a...", "image/gif"),
        (b"GIF89a...", "image/gif"),
        (b"BM" + bytes(12) + b"\x28\0\0\0", "image/bmp"),
        (b"II*\0....", "image/tiff"),
        (b"MM\0*....", "image/tiff"),
        (b"\0\0\0\x1cftypavif", "image/avif"),
        (b"\0\0\0\x1cftypheic", "image/heic"),
        (b"\0\0\0\x1cftypisom", "video/mp4"),
        (b"\0\0\0\x1cftypqt  ", "video/quicktime"),
        (b"\x1aE\xdf\xa3\x9f", "video/webm"),
        (b"OggS\0\x02", "application/ogg"),
        (b"RIFF\x10\0\0\0AVI LIST", "video/x-msvideo"),
        (b"%PDF-1.7", "application/pdf"),
        (b"a film of two hours", "text/plain"),
        ("\N{BYTE ORDER MARK}größer".encode(), "text/plain"),
        (b"BMW is a car, not a bitmap", "text/plain"),
        (("x" * 511 + "ä" * 10).encode(), "text/plain"),
        (b"RIFF\x10\0\0\0????", None),
        (b"\x00\x01\x02\x03", None),
        (b"text until\x00here", None),
        (b"\xff\xd8", None),
        (b"cut in two \xc3", None),
        (b"", None),
    ],
)
def test_sniffs_the_kind_by_its_first_bytes(head: bytes, kind: str | None) -> None:
    assert sniff(head) == kind


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("image/jpeg", "image/jpeg"),
        ("IMAGE/JPEG", "image/jpeg"),
        ("image/jpg", "image/jpeg"),
        ("image/pjpeg", "image/jpeg"),
        ("image/x-png", "image/png"),
        (" image/png ; charset=utf-8; x=1", "image/png"),
        ("image/x-ms-bmp", "image/bmp"),
        ("text/plain; charset=utf-8", "text/plain"),
        ("nonsense", "nonsense"),
        (None, None),
        ("", None),
        ("application/octet-stream", None),
        ("Application/Octet-Stream; q=1", None),
        ("application/x-www-form-urlencoded", None),
    ],
)
def test_reads_what_a_content_type_declares(header: str | None, kind: str | None) -> None:
    assert declared(header) == kind


@pytest.mark.parametrize("content_type", ["image/png", "image/x-png", "application/octet-stream", None])
def test_identifies_what_is_declared_rightly_or_not_at_all(content_type: str | None) -> None:
    assert identify(PNG, content_type, readable=IMAGES) is MediaType.PNG


def test_a_body_of_another_kind_than_declared_is_refused_naming_both() -> None:
    with pytest.raises(UnsupportedMedia, match="declared image/jpeg, but the bytes are image/png") as caught:
        identify(PNG, "image/jpg", readable=IMAGES)
    assert caught.value.extra == {"declared": "image/jpeg", "found": "image/png"}


@pytest.mark.parametrize("content_type", ["text/plain", "video/mp4", "image/tiff", "application/json", "nonsense"])
def test_a_declared_type_that_is_not_readable_is_refused_whatever_the_bytes_are(content_type: str) -> None:
    with pytest.raises(UnsupportedMedia, match=content_type) as caught:
        identify(PNG, content_type, readable=IMAGES)
    assert caught.value.extra["accepted"] == ["image/jpeg", "image/png"]


@pytest.mark.parametrize("content_type", [None, "image/jpeg"])
@pytest.mark.parametrize(("body", "found"), [(b"\0\0\0\x1cftypisom", "video/mp4"), (b"II*\0....", "image/tiff")])
def test_known_bytes_that_are_not_readable_are_refused_by_name(
    body: bytes, found: str, content_type: str | None
) -> None:
    with pytest.raises(UnsupportedMedia, match=found):
        identify(body, content_type, readable=IMAGES)


def test_text_is_the_wrong_type_if_nothing_is_declared_and_a_broken_image_if_one_is() -> None:
    with pytest.raises(UnsupportedMedia, match="text/plain"):
        identify(b"a fine film", None, readable=IMAGES)
    with pytest.raises(Malformed, match=r"isn't image/jpeg: it starts with the text 'a fine film'"):
        identify(b"a fine film", "image/jpeg", readable=IMAGES)


@pytest.mark.parametrize("content_type", [None, "image/jpeg"])
def test_bytes_of_no_known_kind_are_broken_and_shown(content_type: str | None) -> None:
    with pytest.raises(Malformed, match=r"starts with the bytes 00 01 02 03$"):
        identify(b"\0\1\2\3", content_type, readable=IMAGES)


@pytest.mark.parametrize("content_type", [None, "image/jpeg", "text/plain"])
def test_an_empty_body_is_malformed_whatever_it_says(content_type: str | None) -> None:
    with pytest.raises(Malformed, match="empty"):
        identify(b"", content_type, readable=IMAGES)
