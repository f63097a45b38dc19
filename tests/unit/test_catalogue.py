"""Which model answers where none is named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.catalogue import Catalogue
from service.errors import UnknownModel


def model(name: str, modality: str, task: str) -> Any:
    return SimpleNamespace(name=name, package=SimpleNamespace(manifest=SimpleNamespace(modality=modality, task=task)))


def catalogue(*models: Any) -> Catalogue:
    found = Catalogue.__new__(Catalogue)
    found.models, found.withdrawn = {one.name: one for one in models}, cast(Any, set())
    return found


BOXES = model("a", "image", "detection")
PIXELS = model("b", "image", "segmentation")
LATER, LABEL = model("z", "image", "classification"), model("c", "image", "classification")


def test_one_that_classifies_comes_first() -> None:
    assert catalogue(BOXES, PIXELS, LATER, LABEL).default("image") is LABEL


def test_others_answer_where_none_classifies() -> None:
    assert catalogue(PIXELS, BOXES, model("0", "text", "classification")).default("image") is BOXES


def test_an_unloaded_model_is_passed_over() -> None:
    loaded = catalogue(LABEL, LATER)
    loaded.withdrawn.add("c")
    assert loaded.default("image") is LATER


def test_no_reader_is_said_so() -> None:
    with pytest.raises(UnknownModel, match="no model reads video"):
        catalogue(LABEL).default("video")
