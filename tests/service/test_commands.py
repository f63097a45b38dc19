"""The commands besides `serve`, run as a user would, in this process where that makes no difference."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from service.__main__ import main
from tests import packages
from tests.service.wire import GREEN, RED, noisy


@pytest.fixture
def green(tmp_path: Path) -> str:
    """A file that is easy to tell."""
    (file := tmp_path / "green.png").write_bytes(GREEN)
    return str(file)


def explain(colours: Path, *arguments: str) -> int:
    return main(["explain", "--models", str(colours), *arguments])


def test_models_lists_what_there_is(colours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--models", str(colours)]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "version", "modality", "family", "exits", "full", "MMACs", "default"]
    cells = line.split()
    assert cells[:6] == ["colours", "1.0.0", "image", "early-exit", "3", "8.0"]
    assert 0 < int(cells[6].rstrip("%")) < 100


def test_models_names_what_is_broken_and_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packages.write_colours(tmp_path)
    packages.write_colours(tmp_path, name="spoilt", altered="look.onnx")
    assert main(["models", "--models", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", "colours", "spoilt"]
    assert "look.onnx" in lines[2]


def test_explain_tells_the_walk(colours: Path, green: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(colours, "colours", green) == 0
    *_, step, story = capsys.readouterr().out.splitlines()
    assert step.split()[:2] == ["glance", "early"]
    assert step.endswith("confident; saw box 0,0,8,8, size 8x8")
    assert re.match(r"green \d+\.\d%, .*; confident at early: 1\.0 MMACs, 12% of the full network", story)


@pytest.mark.parametrize(
    ("budget", "stages", "last"),
    [
        (["--agreement", "1"], ["glance", "look", "stare"], "last at last: 8.0 MMACs, 100%"),
        (["--compute-mmacs", "3"], ["glance", "look"], "compute at middle: 3.0 MMACs"),
        (["--compute-mmacs", "1", "--priority", "0", "--on-miss", "fail"], ["glance"], "compute at early: 1.0 MMACs"),
    ],
)
def test_explain_takes_budgets(
    colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], budget: list[str], stages: list[str], last: str
) -> None:
    (file := tmp_path / "hard.png").write_bytes(noisy(1, seed=31)[0][0])
    assert explain(colours, "colours", str(file), *budget) == 0
    _, *walk, story = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in walk] == stages
    assert last in story


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (["--latency-ms", "soon"], "latency_ms='soon', which is no number"),
        (["--agreement", "1.5"], "agreement"),
        (["--accuracy", "0.9999"], "can't be certified"),
        (["--compute-mmacs", "0.5"], "below the first exit"),
        (["--latency-ms", "0.0001", "--on-miss", "fail"], "deadline"),
    ],
)
def test_explain_refuses_a_bad_budget(
    colours: Path, green: str, capsys: pytest.CaptureFixture[str], budget: list[str], said: str
) -> None:
    assert explain(colours, "colours", green, *budget) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert not shown.out


def test_explain_names_what_it_can_not_read(
    colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], green: str
) -> None:
    assert explain(colours, "colours", str(tmp_path / "nowhere.png")) == 2
    assert "nowhere.png" in capsys.readouterr().err
    (broken := tmp_path / "broken.png").write_bytes(RED[:40])
    assert explain(colours, "colours", str(broken)) == 2
    assert "image/png" in capsys.readouterr().err
    assert explain(colours, "resnet", green) == 2
    assert "no model 'resnet'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "call", [[], ["fly"], ["explain"], ["explain", "colours"], ["serve", "--port", "eighty"], ["models", "--what"]]
)
def test_a_bad_call_is_2_and_shows_the_usage(call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(call)
    assert ended.value.code == 2
    assert "usage: offramp" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--models", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_the_installed_command_is_this_one() -> None:
    command = Path(sys.executable).with_name("offramp")
    done = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
    assert {"serve", "models", "explain", "bench"} <= set(re.findall(r"^    (\w+)", done.stdout, re.MULTILINE))
