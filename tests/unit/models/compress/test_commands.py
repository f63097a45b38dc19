"""The command line, up to where it would work for minutes; and the real package, where the data are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models import calibrate
from models.compress import commands, walks
from models.compress.options import Options
from models.compress.package import compress
from models.data import cifar10
from models.recipes import cifar10_early_exit as recipe
from service.package.load import load


def test_options_name_the_package() -> None:
    assert Options(0.5, 0.25, "int8").suffix == "prune50-lowrank25-int8"
    assert Options(quantize="int8").suffix == "int8"
    assert Options(prune=0.5).told == {"prune": 0.5}
    assert Options(low_rank=0.75, quantize="int8").arguments == "--low-rank 0.75 --quantize int8"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cifar10-early-exit"], "nothing to do"),
        (["cifar10-early-exit", "--prune", "1"], "not between 0 and 1"),
        (["cifar10-early-exit", "--quantize", "int4"], "invalid choice"),
        (["no/such/package", "--quantize", "int8"], "No such file"),
    ],
)
def test_what_cannot_be_done_is_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        commands.main(arguments)
    assert stopped.value.code in (1, 2)
    assert said in capsys.readouterr().err


def test_a_package_without_a_recipe_is_refused(colours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        commands.main([str(colours), "--quantize", "int8"])
    assert "can't be imported" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
def test_the_shipped_package_in_int8(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walks, "SAMPLES", 200)
    shipped = load(zoo / recipe.TITLE.name)
    made = compress(shipped, Options(quantize="int8"), tmp_path / "int8", "small")
    assert (made.name, made.manifest.precision, made.record.size) == ("small", "int8", shipped.record.size)
    assert made.manifest.provenance["compression"] == [
        {"of": shipped.name, "sha256": shipped.digest, "quantize": "int8"}
    ]
    assert made.graph == shipped.graph
    assert "--quantize int8" in (made.path / "README.md").read_text()
    devtest = cifar10.load("devtest").take(np.arange(0, 5000, 25))
    logits = calibrate.exit_logits(recipe.graphs(made.path), devtest.images)
    assert (logits[-1].argmax(axis=1) == devtest.labels).mean() > 0.84
