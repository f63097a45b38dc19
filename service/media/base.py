"""What a body is: by what it says (Content-Type) and by what its first bytes show, which must agree."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from service.errors import Malformed, UnsupportedMedia


class MediaType(StrEnum):
    """A kind of content that is known by its first bytes. Known isn't readable: many are here to be refused by name."""

    JPEG = "image/jpeg"
    PNG = "image/png"
    WEBP = "image/webp"
    GIF = "image/gif"
    BMP = "image/bmp"
    TIFF = "image/tiff"
    AVIF = "image/avif"
    HEIC = "image/heic"
    JXL = "image/jxl"
    JP2 = "image/jp2"
    ICO = "image/x-icon"
    PSD = "image/vnd.adobe.photoshop"
    MP4 = "video/mp4"
    QUICKTIME = "video/quicktime"
    WEBM = "video/webm"
    OGG = "application/ogg"
    AVI = "video/x-msvideo"
    WAV = "audio/wav"
    PDF = "application/pdf"
    GZIP = "application/gzip"
    ZIP = "application/zip"
    TEXT = "text/plain"


_MAGIC = (
    (b"\xff\xd8\xff", MediaType.JPEG),
    (b"\x89PNG\r\n\x1a\n", MediaType.PNG),
    (b"GIF87a", MediaType.GIF),
    (b"GIF89a", MediaType.GIF),
    (b"II*\x00", MediaType.TIFF),
    (b"MM\x00*", MediaType.TIFF),
    (b"\x00\x00\x00\x0cJXL ", MediaType.JXL),
    (b"\x00\x00\x00\x0cjP  ", MediaType.JP2),
    (b"\x00\x00\x01\x00", MediaType.ICO),
    (b"8BPS", MediaType.PSD),
    (b"\x1aE\xdf\xa3", MediaType.WEBM),
    (b"OggS", MediaType.OGG),
    (b"%PDF-", MediaType.PDF),
    (b"\x1f\x8b\x08", MediaType.GZIP),
    (b"PK\x03\x04", MediaType.ZIP),
)
_RIFF = {b"WEBP": MediaType.WEBP, b"AVI ": MediaType.AVI, b"WAVE": MediaType.WAV}
_BRANDS = {
    b"avif": MediaType.AVIF,
    b"avis": MediaType.AVIF,
    b"heic": MediaType.HEIC,
    b"heix": MediaType.HEIC,
    b"mif1": MediaType.HEIC,
    b"msf1": MediaType.HEIC,
    b"qt  ": MediaType.QUICKTIME,
}
_BEFORE_FTYP = {b"moov", b"mdat", b"wide"}  # how QuickTime files began before there was `ftyp`
_BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}  # "BM" alone would also take "BMW is a car" for a picture

_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-jpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/apng": "image/png",
    "image/vnd.mozilla.apng": "image/png",
    "image/x-bmp": "image/bmp",
    "image/x-ms-bmp": "image/bmp",
    "image/x-webp": "image/webp",
    "image/vnd.microsoft.icon": "image/x-icon",
    "image/heif": "image/heic",
    "application/mp4": "video/mp4",
    "video/x-m4v": "video/mp4",
    "video/matroska": "video/webm",
    "video/x-matroska": "video/webm",
    "video/avi": "video/x-msvideo",
    "video/msvideo": "video/x-msvideo",
    "video/vnd.avi": "video/x-msvideo",
}
# What clients send when nobody chose a type: S3 and curl --data-binary among them.
_UNDECLARED = {
    "",
    "application/octet-stream",
    "binary/octet-stream",
    "application/binary",
    "application/x-www-form-urlencoded",
}


def sniff(data: bytes) -> MediaType | None:
    """What the first bytes show; None if they show nothing that is known here."""
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return kind
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12])
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], MediaType.MP4)
    if data[:1] == b"\0" and data[4:8] in _BEFORE_FTYP:
        return MediaType.QUICKTIME
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return MediaType.BMP
    return MediaType.TEXT if _is_text(data) else None


def _is_text(data: bytes) -> bool:
    head = data[:512]
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(data) <= 512 or error.start < len(head) - 3:  # a character cut in two by the 512 is no fault
            return False
        text = head[: error.start].decode("utf-8-sig")
    return bool(text) and all(char.isprintable() or char in "\t\n\r\f" for char in text)


def declared(content_type: str | None) -> str | None:
    """The media type that a Content-Type header names: lower case, aliases resolved, no parameters.

    None if it is missing, or one of those that clients send when nobody chose any: then the bytes alone decide.
    """
    name = (content_type or "").partition(";")[0].strip().lower()
    return None if name in _UNDECLARED else _ALIASES.get(name, name)


def identify(data: bytes, content_type: str | None, *, readable: Collection[MediaType]) -> MediaType:
    """What `data` is, if it is one of `readable` and what it says it is.

    Raises UnsupportedMedia for a type, said or found, that isn't readable, and when the two differ; Malformed for an
    empty body and for bytes of no known kind.
    """
    claim, found, accepted = declared(content_type), sniff(data), sorted(map(str, readable))
    if not data:
        raise Malformed("the body is empty")
    if claim is not None and claim not in accepted:
        raise UnsupportedMedia(f"{claim[:100]!r} isn't read here", declared=claim[:100], accepted=accepted)
    if found is None or (found is MediaType.TEXT and claim):  # text has no magic: beside a claim it is just not that
        raise Malformed(f"the body isn't {claim or 'of any kind that is known here'}: it starts with {_look(data)}")
    if claim not in (None, found):
        raise UnsupportedMedia(f"declared {claim}, but the bytes are {found}", declared=claim, found=str(found))
    if found not in readable:
        raise UnsupportedMedia(f"the bytes are {found}, which isn't read here", found=str(found), accepted=accepted)
    return found


def _look(data: bytes) -> str:
    """The first bytes as a person can use them: quoted if they are text, in hexadecimal if not."""
    return f"the text {data[:24].decode(errors='replace')!r}" if _is_text(data) else f"the bytes {data[:12].hex(' ')}"
