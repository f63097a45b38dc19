"""The registry: a file in the folder is all it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

import service.routing
from service.errors import PackageError
from service.package.load import load
from service.routing.base import build, known
from service.routing.early_exit import EarlyExit
from tests.packages import write_colours


def test_every_file_of_the_folder_brings_a_router() -> None:
    files = {file.stem for folder in service.routing.__path__ for file in Path(folder).glob("*.py")}
    brought = {
        router.__module__.rpartition(".")[2] for router in known().values() if router.__module__.startswith("service.")
    }
    assert brought == files - {"__init__", "base", "knobs", "moments", "reading", "skipping"}


def test_routers_are_known_by_name() -> None:
    assert known()["early-exit"] is EarlyExit


def test_the_registry_that_is_handed_out_is_a_copy() -> None:
    known().clear()
    assert known()


def test_a_package_gets_the_router_that_it_names(colours: Path) -> None:
    assert isinstance(build(load(colours)), EarlyExit)


def test_an_unknown_router_is_refused_with_those_there_are(tmp_path: Path) -> None:
    package = load(write_colours(tmp_path, manifest=lambda content: content["router"].update(name="oracle")))
    with pytest.raises(PackageError, match=r"no router 'oracle'.*early-exit") as caught:
        build(package)
    assert (caught.value.file, caught.value.field) == (str(package.path / "package.yaml"), "router.name")
