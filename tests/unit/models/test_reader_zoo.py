"""The shipped readers of long texts: small, counted, what their recipes say, and of one corpus one reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import package as packages
from models.recipes import imdb_jump, imdb_skip, imdb_stop, news20_reader
from models.recipes.reading import ReaderRecipe
from service.core import FULL
from service.package.load import load

REVIEWS = (imdb_stop.RECIPE, imdb_jump.RECIPE, imdb_skip.RECIPE)
RECIPES = (*REVIEWS, news20_reader.RECIPE)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.title.name)
def test_a_package_is_what_its_recipe_says(zoo: Path, recipe: ReaderRecipe) -> None:
    shipped = load(zoo / recipe.title.name)
    assert shipped.manifest.laps == recipe.corpus.laps
    assert dict(shipped.manifest.router.parameters) == dict(recipe.title.parameters)
    assert shipped.record.size == recipe.corpus.calibration
    assert shipped.record.prices[0] == FULL
    assert {stage.glimpses["tokens"].chars for stage in shipped.manifest.stages} == {recipe.corpus.chars}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.title.name)
@pytest.mark.usefixtures("data_dir")
def test_splits_are_those_of_the_recipe(zoo: Path, recipe: ReaderRecipe) -> None:
    assert load(zoo / recipe.title.name).manifest.provenance["splits_sha256"] == recipe.corpus.parts.hashes()


def test_all_that_read_reviews_have_one_reader(zoo: Path) -> None:
    assert len({packages.digest(zoo / recipe.title.name / "read.onnx") for recipe in REVIEWS}) == 1


def test_to_skim_costs_a_fraction_of_reading(zoo: Path) -> None:
    read, skim = load(zoo / imdb_skip.RECIPE.title.name).manifest.stages
    assert 0 < skim.macs_per_row < 0.25 * read.macs_per_row
