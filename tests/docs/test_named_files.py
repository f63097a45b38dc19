"""Every file, folder and module that a page names is there."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
NAMED_FILE = re.compile(r"(?<![\w./-])(?:service|models|tests|loadtest|deploy|docs|scripts|\.ci)/[\w./-]*\w")
NAMED_PAGE = re.compile(r"(?<![\w./-])docs/[\w./-]+\.md")
NAMED_MODULE = re.compile(r"python -m ((?:service|models|loadtest)[\w.]*\w)")


def named(page: Path, pattern: re.Pattern[str]) -> set[str]:
    """What a page names; words in capitals are placeholders."""
    return {name for name in pattern.findall(page.read_text()) if not re.search(r"\b[A-Z]{2,}\b(?!\.md)", name)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_named_file_exists(page: Path) -> None:
    # docs/decisions/0002 stands for docs/decisions/0002-no-onnx-runtime-in-base.md
    assert not {
        name for name in named(page, NAMED_FILE) if not (ROOT / name).exists() and not [*ROOT.glob(f"{name}-*")]
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_named_module_exists(page: Path) -> None:
    assert not {name for name in named(page, NAMED_MODULE) if find_spec(name) is None}


def test_every_page_that_code_names_exists() -> None:
    sources = [file for folder in ("service", "models", "tests", "scripts") for file in (ROOT / folder).rglob("*.py")]
    assert not {
        name for file in sources for name in NAMED_PAGE.findall(file.read_text()) if not (ROOT / name).is_file()
    }
