"""Multipart forms: files as they are, and the fields beside them."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

from python_multipart.exceptions import MultipartParseError
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from service.errors import Malformed, TooLarge
from service.media.uploads import Payload, Share, Spool, Upload

_MAX_FIELDS = 32
_MAX_FIELD_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Form:
    """Files with their Content-Type, and fields with their text, each in the order of the form."""

    files: list[tuple[Payload, str | None]]
    fields: list[tuple[str, str]]


async def parse(headers: Headers, chunks: AsyncIterator[bytes], *, max_files: int, spool: Spool | None = None) -> Form:
    """Take a form apart as it comes. Without a spool everything stays in memory.

    Raises:
        TooLarge: more files than allowed.
        Malformed: it can't be read, or ends before its closing boundary.
        Overloaded: no room on disk.
    """
    in_memory = sys.maxsize if spool is None else spool.in_memory_bytes
    share = None if spool is None else Share(spool)

    async def whole() -> AsyncIterator[bytes]:
        size = 0
        async for chunk in chunks:
            # Taken for the whole body as soon as any file in it might be on disk.
            size += len(chunk)
            if share is not None and size > in_memory:
                share.take(len(chunk) if share.taken else size)
            yield chunk
        if not parser.ended:
            raise MultiPartException("it ends before its closing boundary")

    limits = {"max_files": max_files, "max_fields": _MAX_FIELDS, "max_part_size": _MAX_FIELD_BYTES}
    try:
        parser = _Parser(headers, whole(), **limits)  # type: ignore[arg-type]
        parser.spool_max_size = in_memory
        return await _taken(await parser.parse(), in_memory, share)
    except (MultiPartException, MultipartParseError, KeyError) as error:
        if str(error).startswith("Too many files"):
            raise TooLarge(f"more than {max_files} inputs", limit=max_files) from error
        raise Malformed(f"multipart body can't be read: {error}") from error
    finally:
        if share is not None:
            share.give_back()


class _Parser(MultiPartParser):
    ended = False

    def on_end(self) -> None:
        """Called at the closing boundary. Without one the last part would be dropped in silence."""
        self.ended = True


async def _taken(form: FormData, in_memory: int, share: Share | None) -> Form:
    items = form.multi_items()
    files = [
        (await _payload(part, in_memory, share), part.content_type) for _, part in items if isinstance(part, UploadFile)
    ]
    await form.close()
    return Form(files, [(key, part) for key, part in items if isinstance(part, str)])


async def _payload(file: UploadFile, in_memory: int, share: Share | None) -> Payload:
    """What a part holds; a file on disk is taken over, not copied."""
    if share is None or file.size is None or file.size <= in_memory:
        return await file.read()
    return Upload(os.dup(file.file.fileno()), file.size, share.split(file.size))
