"""A headless Chromium, spoken to in its own protocol (CDP): no driver has to be installed beside it."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

WAIT_S = 60.0
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--window-size=1200,1000",
    "--remote-debugging-port=0",
)


@dataclass
class Tab:
    """One tab, what it asked of the network, and what went wrong in it."""

    socket: ClientConnection
    requested: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _number: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol, noting the events that come meanwhile."""
        number = next(self._number)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            told = json.loads(self.socket.recv(timeout=WAIT_S))
            if told.get("id") == number:
                assert "error" not in told, told
                found: dict[str, Any] = told["result"]
                return found
            self._note(told)

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        told = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, script: str) -> Any:
        """Wait until an expression is true."""
        end = time.monotonic() + WAIT_S
        while not (found := self.evaluate(script)):
            assert time.monotonic() < end, (script, self.errors, self.evaluate("document.body.innerText"))
            time.sleep(0.05)
        return found

    def choose_file(self, selector: str, file: Path) -> None:
        """Put a file into an input, as a user's dialogue would."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def screenshot(self) -> bytes:
        """What it looks like, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif event["method"] == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif event["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])


@contextmanager
def open_tab(folder: Path, url: str) -> Iterator[Tab]:
    """A tab that shows a page. `folder` is for the browser's profile."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    command = [program, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    with (folder / "chromium.txt").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with connect(_tab_address(folder, process), max_size=None, open_timeout=WAIT_S) as socket:
            tab = Tab(socket)
            for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
                tab.call(f"{domain}.enable")
            tab.call("Page.navigate", url=url)
            tab.until(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")
            yield tab
    finally:
        process.kill()
        process.wait()


def _tab_address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """Of the first tab, once the browser listens."""
    said, end = folder / "profile" / "DevToolsActivePort", time.monotonic() + WAIT_S
    while time.monotonic() < end and process.poll() is None:
        if said.is_file() and (lines := said.read_text().splitlines()):
            tabs = httpx.get(f"http://127.0.0.1:{lines[0]}/json/list", timeout=WAIT_S, trust_env=False).json()
            for tab in tabs:
                if tab["type"] == "page":
                    return str(tab["webSocketDebuggerUrl"])
        time.sleep(0.05)
    pytest.fail(f"chromium doesn't come up:\n{(folder / 'chromium.txt').read_text()[-2000:]}")
