"""What sst2-encoder learns of sentences without labels: their form, and how likely each class is."""

from __future__ import annotations

import numpy as np
import pytest

from models.data.sentences import film_form
from models.recipes.sst2_training import likely, posterior


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("It's a well-made film (of 2003), isn't it.", "it 's a well made film of 2003 , is n't it"),
        ('"They\'ve  WON!" -- why?', "they 've won ! why ?"),
        ("one long string of cliches", "one long string of cliches"),
        ("you wo n't like roger , but you will", "you wo n't like roger , but you will"),
    ],
)
def test_a_review_is_written_as_sst2_writes(written: str, expected: str) -> None:
    assert film_form(written) == expected


def test_odds_become_how_likely_each_class_is() -> None:
    found = likely(np.log(np.array([1.0, 3.0, 0.25])))
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.25, 0.75], [0.8, 0.2]], rtol=1e-6)


def test_a_review_is_evidence_as_far_as_sure_sentences_agree_with_theirs() -> None:
    odds = np.array([4.0, -4.0, 4.0, -4.0, 0.5, -0.5, 0.5, -0.5, *[0.1] * 8])
    of_review = np.array([1, 0, 1, 1, 0, 1, 1, 0, *[1] * 8])
    evidence = np.log(3)  # Of the surest four, three agree.
    expected = likely(odds + evidence * (2 * of_review - 1))
    np.testing.assert_allclose(posterior(odds, of_review), expected, rtol=1e-6)


def test_reviews_that_agree_no_more_often_than_not_tell_nothing() -> None:
    odds = np.array([4.0, -4.0, 3.9, -3.9, 0.5, -0.5, 0.5, -0.5])
    of_review = np.array([1, 1, 0, 0, 0, 1, 1, 0])
    np.testing.assert_allclose(posterior(odds, of_review), likely(odds), rtol=1e-6)
