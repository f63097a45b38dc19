"""Hashed word n-grams of a text: what a bag-of-n-grams classifier reads, microseconds after the text came.

Words and pairs of neighbouring words are hashed into a fixed number of buckets (fastText, Joulin et al., EACL 2017), so
no vocabulary has to be kept. The hash is CRC-32 over UTF-8: the same in every process, on every machine, whatever
PYTHONHASHSEED says; a package's weights depend on it, so it must never change.
"""

from __future__ import annotations

import re
from itertools import islice, pairwise
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+|[^\w\s]")
_MIX = 0x9E3779B1
"""2^32 / golden ratio, odd (Knuth's multiplicative hashing): the high bits of the product depend on all bits."""


def words(text: str) -> list[str]:
    """Runs of letters and digits, and each punctuation mark on its own, without case."""
    return _WORD.findall(text.casefold())


def hashed_ngrams(text: str, count: int, buckets: int) -> NDArray[np.int32]:
    """The first words of a text, each followed by the pair that it ends, as int32 [count].

    Values are 1..buckets; 0 pads a shorter text. What doesn't fit is not read: `count` ids hold about half as many
    words.
    """
    # No more words than can have an id are hashed; a huge text costs what a small one costs, once it is cut.
    read = list(islice((found.group() for found in _WORD.finditer(text.casefold())), count // 2 + 1))
    keys = [crc32(word.encode("utf-8", "surrogatepass")) for word in read]
    pairs = [
        crc32(second.encode("utf-8", "surrogatepass"), crc32(b" ", first)) for (first, second) in _ends(keys, read)
    ]
    hashes = np.zeros(2 * len(keys), np.uint64)
    hashes[0::2] = keys
    hashes[3::2] = pairs
    ids = (((hashes * _MIX) & 0xFFFFFFFF) * buckets >> np.uint64(32)) + np.uint64(1)
    ids = np.delete(ids, 1) if len(ids) else ids
    made = np.zeros(count, np.int32)
    made[: len(ids)] = ids[:count]
    return made


def _ends(keys: list[int], read: list[str]) -> list[tuple[int, str]]:
    """Each pair of neighbours as the first one's hash and the second one."""
    return [(keys[place], second) for place, (_, second) in enumerate(pairwise(read))]
