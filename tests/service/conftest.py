"""What the tests of shipped packages share: a server for each package that their module names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartServer


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that ask for `name` run once for each of their module's `PACKAGES`, unless they choose."""
    packages = getattr(metafunc.module, "PACKAGES", None)
    chosen = any(mark.args[0] == "name" for mark in metafunc.definition.iter_markers("parametrize"))
    if packages is not None and not chosen and "name" in metafunc.fixturenames:
        metafunc.parametrize("name", list(packages), indirect=True, scope="module")


@pytest.fixture(scope="module")
def name(request: pytest.FixtureRequest) -> str:
    """The package that is asked."""
    return str(request.param)


@pytest.fixture(scope="module")
def served(start_server: StartServer, zoo: Path, name: str) -> Iterator[str]:
    """Address of a server with that package alone. No deadline shall raise the price, however slow the machine."""
    with start_server("--models", str(zoo / name), OFFRAMP_DEFAULT_DEADLINE_MS="600000") as url:
        yield url
