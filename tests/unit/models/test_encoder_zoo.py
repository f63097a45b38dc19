"""The shipped sst2-encoder is what its recipe says: small, counted, split as told, and as good as its card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from models.calibration import token_fit
from models.data import texts
from models.recipes import sst2_encoder as recipe
from models.recipes import sst2_training as training
from models.token_package import TOKENIZER, names
from service.package.load import Package, load


@pytest.fixture(scope="module")
def shipped(zoo: Path) -> Package:
    return load(zoo / recipe.TITLE.name)


def test_stages_are_those_of_the_recipe(shipped: Package) -> None:
    assert shipped.graph.names == tuple(names(training.LAYERS))


def test_splits_are_those_of_the_recipe(shipped: Package) -> None:
    router, calibration = (set(shipped.tables[f"{name}_index"].tolist()) for name in ("router", "calibration"))
    assert (len(router), len(calibration)) == (training.ROUTER_SIZE, training.CALIBRATION_SIZE)
    assert not router & calibration
    assert shipped.record.size == training.CALIBRATION_SIZE


def test_any_word_can_be_spelled(shipped: Package) -> None:
    words = Tokenizer.from_file(str(shipped.path / TOKENIZER))
    assert "[UNK]" not in words.encode("Zyzzyva, 1984: qwrtp!").tokens


@pytest.mark.usefixtures("data_dir")
def test_it_classifies_dev(shipped: Package) -> None:
    dev = texts.sst2("dev").take(np.arange(0, 872, 4))
    seen = training.READING.seen(dev.texts, Tokenizer.from_file(str(shipped.path / TOKENIZER)))
    told = token_fit.chain(shipped.path, shipped.graph).answers(seen["ngrams"], seen["tokens"], 0.0)
    right = (told.logits.argmax(axis=2) == dev.labels).mean(axis=1)
    assert right[-1] > 0.82, "218 sentences: three standard errors below 88.6 %"
    assert right[0] > 0.69
