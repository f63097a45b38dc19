"""A running engine, for what is easier to see without HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.engine import Engine
from service.settings import Settings
from tests import packages


@pytest.fixture(scope="package")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A running engine with the package `colours` and one that is broken."""
    folder = tmp_path_factory.mktemp("render")
    packages.write_colours(folder)
    packages.write_colours(folder, name="spoilt", altered="look.onnx")
    made = Engine(Settings(models=(folder,), lanes=1, max_in_flight=32))
    made.load()
    made.start()
    yield made
    made.stop()
