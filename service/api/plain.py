"""Requests that can be read without a parser: whole, in one piece, of the form in which clients send them.

Parsing is most of what turning a request away costs, and under overload most requests are turned away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_WHOLE = re.compile(rb"POST ([!-~]+) HTTP/1\.1\r\n((?:[A-Za-z0-9-]+: ?[\t -~]*\r\n)+)\r\n")
_LINE = re.compile(rb"([A-Za-z0-9-]+): ?([\t -~]*)\r\n")
_LENGTH = b"content-length"
_SPECIAL = frozenset({b"connection", b"expect", b"transfer-encoding", b"upgrade"})
"""They change what the connection does next; a parser has to see them."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A POST of HTTP/1.1 that keeps its connection: `headers` by lower-case name, in order."""

    target: bytes
    headers: list[tuple[bytes, bytes]]


def plain(data: bytes) -> Plain | None:
    """The one request that `data` is, to its last byte; None if it is more, less or of another form."""
    found = _WHOLE.match(data)
    if found is None:
        return None
    headers = [(name.lower(), value.rstrip()) for name, value in _LINE.findall(found[2])]
    lengths = [value for name, value in headers if name == _LENGTH]
    if len(lengths) != 1 or lengths[0] != b"%d" % (len(data) - found.end()):
        return None
    if any(name in _SPECIAL for name, _ in headers):
        return None
    return Plain(found[1], headers)
