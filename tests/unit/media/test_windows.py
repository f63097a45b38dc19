from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from service.media.windows import count, span

TEXT = "one two three four five six seven eight nine ten"


def test_the_chunks_of_a_text_one_after_the_other_are_the_text():
    chunks = count(len(TEXT), 10)
    assert chunks == 5
    assert "".join(TEXT[slice(*span(TEXT, 10, chunk))] for chunk in range(chunks)) == TEXT


def test_a_word_belongs_to_the_window_in_which_it_begins():
    assert [TEXT[slice(*span(TEXT, 10, chunk))] for chunk in range(2)] == ["one two three", " four five"]


def test_a_short_rest_goes_to_the_last_chunk():
    assert count(100, 100) == count(125, 100) == 1
    assert count(126, 100) == 2
    assert count(0, 100) == 1


def test_chunks_that_a_text_does_not_have_are_empty():
    for chunk in (-1, 5, 1000):
        start, end = span(TEXT, 10, chunk)
        assert start == end


def test_a_text_without_spaces_is_cut_at_the_edge():
    assert span("x" * 1000, 100, 3) == (300, 400)


@given(st.text(alphabet="ab \n", max_size=400), st.integers(1, 120))
def test_any_text_is_its_chunks(text, chars):
    spans = [span(text, chars, chunk) for chunk in range(count(len(text), chars))]
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    assert all(one[1] == other[0] and one[0] <= one[1] for one, other in pairwise(spans))
