"""Hashed n-grams: the same everywhere, words and pairs in order, padded and cut."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.media.ngrams import hashed_ngrams, words


def test_words_lose_case_and_punctuation_stands_alone() -> None:
    assert words("It's GOOD, naïve!") == ["it", "'", "s", "good", ",", "naïve", "!"]


def test_the_hash_never_changes() -> None:
    # Packages' weights depend on these numbers.
    assert hashed_ngrams("A good film", 8, 32768).tolist() == [32047, 18174, 32647, 12890, 487, 0, 0, 0]


def test_the_hash_is_that_of_every_process() -> None:
    script = "from service.media.ngrams import hashed_ngrams; print(hashed_ngrams('not bad at all', 9, 1000).tolist())"
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert told == {f"{hashed_ngrams('not bad at all', 9, 1000).tolist()}\n"}


def test_pairs_depend_on_order_and_words_dont() -> None:
    one, other = hashed_ngrams("good film", 3, 2**20), hashed_ngrams("film good", 3, 2**20)
    assert set(one[:2].tolist()) == set(other[:2].tolist())
    assert one[2] != other[2]


@pytest.mark.parametrize("text", ["", " \n\t", "x", "\ud800 alone", "word " * 100_000])
def test_any_text_has_a_row(text: str) -> None:
    row = hashed_ngrams(text, 7, 100)
    assert row.shape == (7,)
    assert row.dtype == np.int32


@given(st.text(), st.integers(1, 20), st.integers(2, 1000))
def test_ids_fill_from_the_left_within_the_buckets(text: str, count: int, buckets: int) -> None:
    row = hashed_ngrams(text, count, buckets)
    there = min(count, max(0, 2 * len(words(text)) - 1))
    assert ((row[:there] >= 1) & (row[:there] <= buckets)).all()
    assert not row[there:].any()
