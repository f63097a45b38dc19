"""docs/errors.md tells every error type, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from service.errors import OfframpError


def descendants(error: type[OfframpError]) -> Iterator[type[OfframpError]]:
    """The type and everything below it."""
    yield error
    for child in error.__subclasses__():
        yield from descendants(child)


# Tests may derive types of their own; only those of the service are promised.
TYPES = {error.__name__: error for error in descendants(OfframpError) if error.__module__.startswith("service.")}


@pytest.fixture(scope="module")
def documented(read_table: Callable[[str], list[dict[str, str]]]) -> dict[str, dict[str, str]]:
    """The rows of the page, by type."""
    return {row["type"]: row for row in read_table("errors.md")}


def test_every_type_is_documented_and_every_documented_type_exists(documented: dict[str, dict[str, str]]) -> None:
    assert set(documented) == set(TYPES)


@pytest.mark.parametrize("name", sorted(TYPES))
def test_status_slug_and_retry_are_the_type_s_own(name: str, documented: dict[str, dict[str, str]]) -> None:
    error, row = TYPES[name], documented[name]
    assert row["slug"] == error.slug
    assert row["status"] == str(error.status)
    assert row["retry"] == ("yes" if error.retryable else "no")


@pytest.mark.parametrize("name", sorted(TYPES))
def test_the_tree_in_the_docstring_names_the_type(name: str) -> None:
    import service.errors

    assert name in (service.errors.__doc__ or "")
