"""The playground as a user sees it: a model, a file, a budget, the exits as they come, the receipt."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.browser.browsing import Tab, open_tab
from tests.conftest import StartServer
from tests.service.wire import CLIENT, FULL_MACS, GREEN

WEB = Path(__file__).resolve().parents[2] / "service" / "web"
DONE = "document.getElementById('answer').dataset.state === 'done'"


@pytest.fixture(scope="module")
def tab(colours_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with open_tab(tmp_path_factory.mktemp("chromium"), f"{colours_server}/") as opened:
        opened.until("document.getElementById('model').value === 'colours'")
        yield opened


@pytest.fixture
def picture(tab: Tab, tmp_path: Path) -> None:
    """A green picture is chosen, and no budget."""
    (file := tmp_path / "green.png").write_bytes(GREEN)
    tab.evaluate("document.querySelectorAll('[data-budget]').forEach((field) => { field.value = '' })")
    tab.choose_file("#file", file)
    tab.until("document.querySelector('#preview img')?.complete")


def text(tab: Tab, selector: str) -> str:
    return str(tab.evaluate(f"document.querySelector('{selector}').innerText"))


def exits(tab: Tab) -> list[str]:
    found: list[str] = tab.evaluate("[...document.querySelectorAll('#exits li')].map((line) => line.innerText)")
    return found


def click(tab: Tab, button: str) -> None:
    tab.evaluate(f"document.getElementById('answer').dataset.state = '', document.getElementById('{button}').click()")


@pytest.mark.slow
@pytest.mark.usefixtures("picture")
def test_an_answer_with_its_exits_and_receipt(tab: Tab) -> None:
    click(tab, "full")
    tab.until(DONE)
    assert text(tab, "#headline").startswith("green, ")
    assert [line.split()[0] for line in exits(tab)] == ["early", "middle", "last"]
    assert f"{FULL_MACS / 1e6:g} MMACs, 100.0 % of the full network" in text(tab, "#receipt")
    assert "agreement 1 kept" in text(tab, "#receipt")


@pytest.mark.slow
@pytest.mark.usefixtures("picture")
def test_a_budget_is_kept_and_the_walk_is_told(tab: Tab, tmp_path: Path) -> None:
    tab.evaluate("document.getElementById('compute_mmacs').value = '1.5'")
    click(tab, "run")
    tab.until(DONE)
    assert "compute_mmacs 1.5 kept" in text(tab, "#receipt")
    assert [line.split()[0] for line in exits(tab)] == ["early"]
    tab.evaluate("document.getElementById('walk').open = true")
    assert "glance" in text(tab, "#walk")
    (tmp_path / "playground.png").write_bytes(shot := tab.screenshot())
    shown = Image.open(io.BytesIO(shot)).convert("RGB")
    assert shown.size[0] >= 1000
    assert len(shown.getcolors(1 << 24) or ()) > 50, "a page with text and bars, not a blank one"


@pytest.mark.slow
@pytest.mark.usefixtures("picture")
def test_a_refusal_is_shown_with_its_reason(tab: Tab) -> None:
    tab.evaluate("document.getElementById('accuracy').value = '0.99999'")
    click(tab, "run")
    told = tab.until("document.getElementById('problem').hidden ? '' : document.getElementById('problem').innerText")
    assert told.startswith("Impossible budget: accuracy 0.99999 can't be certified")
    # The browser itself logs every status above 399; nothing else may go wrong.
    assert not [error for error in tab.errors if "422" not in error]


@pytest.mark.slow
def test_nothing_is_asked_of_anybody_else(tab: Tab, colours_server: str) -> None:
    assert tab.requested
    assert not [url for url in tab.requested if not url.startswith((colours_server, "blob:", "data:", "about:"))]


@pytest.mark.slow
def test_a_text_is_written_where_a_model_reads_it(zoo: Path, start_server: StartServer, tmp_path: Path) -> None:
    reads = {path: yaml.safe_load((path / "package.yaml").read_text())["modality"] for path in packages_of(zoo)}
    readers = [path for path, modality in reads.items() if modality == "text"]
    if not readers:
        pytest.skip("no package that reads text is shipped yet")
    with (
        start_server("--models", str(readers[0])) as url,
        open_tab(tmp_path, f"{url}/?model={readers[0].name}") as opened,
    ):
        opened.until("!document.getElementById('write').hidden && document.getElementById('drop').hidden")
        opened.evaluate("document.getElementById('text').value = 'A lovely film, not dull at all.'")
        click(opened, "run")
        opened.until(DONE)
        assert "of the full network" in text(opened, "#summary")
        assert not opened.errors


def packages_of(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if (path / "package.yaml").is_file()]


def test_the_page_may_load_nothing_from_elsewhere(colours_server: str) -> None:
    page = CLIENT.get(f"{colours_server}/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for file in WEB.iterdir():
        assert not re.search(r"https?://|//[a-z]+\.", file.read_text())


def test_the_script_s_fields_are_those_of_the_page() -> None:
    page, script = (WEB / "index.html").read_text(), (WEB / "playground.js").read_text()
    named = set(re.findall(r'\$\("([a-z_]+)"\)', script))
    assert named
    assert not named - set(re.findall(r'id="([a-z_]+)"', page))
