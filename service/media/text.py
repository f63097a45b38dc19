"""Text as models want it: checked whole, tokenised chunk by chunk, when and where a stage asks to read.

A source is the text and nothing else; it keeps no tokens. What a look costs depends on the chunk that is read, not on
the length of the text. Opening and looking belong on a decode thread.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from service.errors import Malformed, TooLarge, UnsupportedMedia
from service.media.base import MediaType, declared, sniff
from service.media.ngrams import hashed_ngrams
from service.media.windows import count, span

CHARACTER = 64
"""Pixels whose decoding takes as long as tokenising one character does: 0.4 us."""
_CHARSETS = {"utf-8", "utf8", "us-ascii", "ascii"}
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
"""What no text has; tab, line ends, form feed and escape (of terminals' colours) may be there."""
_WIDE_MARKS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


class TextGlimpse(Protocol):
    """What is asked of a text, as a manifest says it (docs/packages.md)."""

    @property
    def glimpse(self) -> str:
        """Its kind: `tokens`, `chunks`, .."""


@dataclass(frozen=True, slots=True)
class TextLimits:
    """What a text may be."""

    max_bytes: int = 2**20
    """Bytes of UTF-8."""


@dataclass(frozen=True, slots=True)
class TextSource:
    """A text within its limits. Nothing is tokenised until a look is asked for.

    `folder` is the package's, where its tokenizer lies.
    """

    text: str
    folder: Path | None = None

    @classmethod
    def open(
        cls,
        data: bytes,
        *,
        content_type: str | None = None,
        limits: TextLimits | None = None,
        folder: Path | None = None,
    ) -> TextSource:
        """Check `data`, declared as `content_type` (a header's value, or None).

        Raises UnsupportedMedia (another type or charset), TooLarge (above `limits`), or Malformed: empty, white space
        alone, not UTF-8, or with control characters, as binary data have them.
        """
        limits = limits or TextLimits()
        _check_type(data, content_type)
        if len(data) > limits.max_bytes:
            detail = f"the text has {len(data)} bytes, the limit is {limits.max_bytes}"
            raise TooLarge(detail, limit=limits.max_bytes, value=len(data))
        return cls(_decoded(data), folder)

    @property
    def area(self) -> int:
        """What decoding costs, in pixels of a picture: see CHARACTER."""
        return len(self.text) * CHARACTER

    def look(self, glimpse: Any, at: NDArray[np.float32] | None) -> NDArray[Any]:
        """Views of the text, [k, ...]: one for each row of `at` [k, 1], the chunk's number; the default's if None.

        `tokens`: int32 [k, count], the chunk's first `count` token numbers, 0 where it has fewer. `chunks`: float32
        [k, 1], how many chunks the text has. `chunk`: float32 [k, 1], the number itself. `ngrams`: int32 [k, count],
        hashed words and pairs of words. Numbers below 0 count from the text's end.
        """
        return _LOOKS[glimpse.glimpse](self, glimpse, self._places(glimpse, at))

    def tells(self, glimpse: Any, at: NDArray[np.float32] | None) -> list[dict[str, Any]]:
        """What each view of `look` shows: `chars`, from and to, of the text, or the number that it tells.

        Of tokens also `tokens`, the characters from and to of each.
        """
        if glimpse.glimpse not in _READS:
            return [{glimpse.glimpse: int(told[0])} for told in self.look(glimpse, at)]
        chars = getattr(glimpse, "chars", None)
        told: list[dict[str, Any]] = [{"chars": [*self._span(chars, chunk)]} for chunk in self._places(glimpse, at)]
        if glimpse.glimpse == "tokens" and self.folder is not None:
            words = tokenizer(self.folder / glimpse.file)
            for one in told:
                start, end = one["chars"]
                found = words.encode(self.text[start:end], add_special_tokens=False).offsets[: glimpse.count]
                one["tokens"] = [[start + first, start + last] for first, last in found]
        return told

    def picture(self, seen: Any) -> bytes | None:
        """A text has no picture."""
        return None

    def passage(self, chars: int | None, chunk: int) -> str:
        """The characters of one chunk, or the whole text if it isn't cut."""
        start, end = self._span(chars, chunk)
        return self.text[start:end]

    def _places(self, glimpse: Any, at: NDArray[np.float32] | None) -> list[int]:
        """The numbers of the chunks to look at."""
        if at is None:
            places = [int((getattr(glimpse, "at", None) or (0,))[0])]
        else:
            places = [round(float(chunk)) for chunk in at[:, 0]]
        chars = getattr(glimpse, "chars", None)
        return [chunk + count(len(self.text), chars) if chars and chunk < 0 else chunk for chunk in places]

    def _span(self, chars: int | None, chunk: int) -> tuple[int, int]:
        return (0, len(self.text)) if chars is None else span(self.text, chars, chunk)


@lru_cache(maxsize=64)
def tokenizer(file: Path) -> Tokenizer:
    """A package's tokenizer, read once."""
    return Tokenizer.from_file(str(file))


def _tokens(source: TextSource, glimpse: Any, places: list[int]) -> NDArray[Any]:
    """Chunks that are asked for, and no other, are tokenised."""
    if source.folder is None:
        raise ValueError("a source without its package's folder has no tokenizer")
    words = tokenizer(source.folder / glimpse.file)
    made = np.zeros((len(places), glimpse.count), np.int32)
    for row, chunk in enumerate(places):
        ids = words.encode(source.passage(glimpse.chars, chunk), add_special_tokens=False).ids[: glimpse.count]
        made[row, : len(ids)] = ids
    return made


def _chunks(source: TextSource, glimpse: Any, places: list[int]) -> NDArray[Any]:
    return np.full((len(places), 1), count(len(source.text), glimpse.chars), np.float32)


def _chunk(source: TextSource, glimpse: Any, places: list[int]) -> NDArray[Any]:
    return np.array(places, np.float32)[:, None]


def _ngrams(source: TextSource, glimpse: Any, places: list[int]) -> NDArray[Any]:
    read = [source.passage(glimpse.chars, chunk) for chunk in places]
    return np.stack([hashed_ngrams(passage, glimpse.count, glimpse.buckets) for passage in read])


_LOOKS: dict[str, Callable[[TextSource, Any, list[int]], NDArray[Any]]] = {
    "tokens": _tokens,
    "chunk": _chunk,
    "chunks": _chunks,
    "ngrams": _ngrams,
}
_READS = {"tokens", "ngrams"}


def _check_type(data: bytes, content_type: str | None) -> None:
    claim, accepted = declared(content_type), [str(MediaType.TEXT)]
    if claim not in (None, MediaType.TEXT):
        raise UnsupportedMedia(f"{claim[:100]!r} isn't read here", declared=claim[:100], accepted=accepted)
    charset = re.search(r";\s*charset\s*=\s*\"?([^\s\";]+)", content_type or "", re.IGNORECASE)
    if claim and charset and charset[1].lower() not in _CHARSETS:
        detail = f"charset {charset[1][:40]!r} isn't read here; send UTF-8"
        raise UnsupportedMedia(detail, declared=charset[1][:40], accepted=["utf-8"])
    found = sniff(data)
    if found in (None, MediaType.TEXT) or _is_text(data):
        return
    said = f"declared {claim}, but the bytes are {found}" if claim else f"the bytes are {found}, which isn't read here"
    raise UnsupportedMedia(said, found=str(found), accepted=accepted)


def _is_text(data: bytes) -> bool:
    """Whether all of it is: a text may begin like a picture does."""
    try:
        return _CONTROLS.search(data.decode()) is None
    except UnicodeDecodeError:
        return False


def _decoded(data: bytes) -> str:
    if not data:
        raise Malformed("the text is empty")
    for mark, name in _WIDE_MARKS.items():
        if data.startswith(mark):
            raise Malformed(f"the text begins with the mark of {name}; send UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wrong = data[error.start : error.start + 4].hex(" ")
        raise Malformed(f"the text isn't UTF-8: byte {error.start} begins {wrong}") from error
    control = _CONTROLS.search(text)
    if control:
        code, place = ord(control[0]), control.start()
        raise Malformed(f"the text has the control character U+{code:04X} at character {place}: it looks binary")
    if not text.strip():
        raise Malformed("the text is empty" if not text else "the text is white space alone")
    return text
