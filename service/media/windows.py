"""A long text as chunks that are found without looking at the rest of it.

Chunk k is the words that begin in the k-th window of `chars` characters: a word that a window's edge would cut belongs
to the window in which it begins. So where a chunk begins and ends costs a look at its own two edges, however long the
text is, and the chunks of a text, one after the other, are the text.
"""

from __future__ import annotations

_LONGEST_WORD = 64
"""So far past a window's edge a space is looked for; a text without any is cut at the edge."""


def count(length: int, chars: int) -> int:
    """How many chunks a text of `length` characters has: 1 or more. A rest below a quarter window goes to the last."""
    return max(1, -(-(length - chars // 4) // chars))


def span(text: str, chars: int, chunk: int) -> tuple[int, int]:
    """Characters from and to, of chunk number `chunk`; an empty span at the text's end for one that it doesn't have."""
    chunks = count(len(text), chars)
    if not 0 <= chunk < chunks:
        return len(text), len(text)
    return _edge(text, chunk * chars), len(text) if chunk == chunks - 1 else _edge(text, (chunk + 1) * chars)


def _edge(text: str, at: int) -> int:
    """The first place from `at` on where no word is cut."""
    if at <= 0 or text[at - 1].isspace():
        return max(0, at)
    for place in range(at, min(at + _LONGEST_WORD, len(text))):
        if text[place].isspace():
            return place
    return min(at, len(text))
