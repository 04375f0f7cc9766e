"""The drop page in a real browser, where one is installed: a person hands in a file."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from support.processes import PHOTOS, Served, serving

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")]

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
)


class Browser:
    """One page of Chromium, driven over the DevTools protocol through pipes."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = os.fdopen(commands, "wb"), os.fdopen(answers, "rb")
        self._session: str | None = None
        self._number = 0
        self.problems: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.ask(f"{domain}.enable")

    def close(self) -> None:
        self._commands.close()
        self._answers.close()

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        return self._until(lambda answer: answer.get("id") == self._number)["result"]

    def open(self, url: str) -> None:
        self.ask("Page.navigate", url=url)
        self._until(lambda event: event.get("method") == "Page.loadEventFired")

    def evaluate(self, script: str) -> Any:
        answer = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        return answer["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """The first value of the script that is not empty."""
        wait = f"(function look() {{ const found = {script}; found ? done(found) : setTimeout(look, 10); }})()"
        return self.evaluate(f"new Promise(done => {wait})")

    def choose(self, selector: str, path: Path) -> None:
        root = self.ask("DOM.getDocument")["root"]["nodeId"]
        node = self.ask("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.ask("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def _until(self, wanted: Any) -> dict[str, Any]:
        kept = b""
        while byte := self._answers.read(1):
            if byte != b"\0":
                kept += byte
                continue
            message: dict[str, Any] = json.loads(kept)
            kept = b""
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.problems.append(json.dumps(message["params"]))
            if wanted(message):
                return message
        raise AssertionError("the browser ended")


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    to_browser, commands = os.pipe()
    answers, from_browser = os.pipe()
    shell = 'exec "$0" "$@" 3<&$COMMANDS 4>&$ANSWERS'
    process = subprocess.Popen(
        ["bash", "-c", shell, CHROMIUM, *QUIET, f"--user-data-dir={profile}"],
        pass_fds=(to_browser, from_browser),
        env={**os.environ, "COMMANDS": str(to_browser), "ANSWERS": str(from_browser)},
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser)
    os.close(from_browser)
    browser = Browser(commands, answers)
    try:
        yield browser
    finally:
        browser.close()
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("data")) as served:
        yield served


SAID = "document.getElementById('said').textContent"
HANDLE = "document.querySelector('code')?.textContent"


async def test_a_person_hands_in_a_picture(server: Served, tmp_path: Path) -> None:
    async with Client(f"{server.url}/mcp") as client:
        url = (await client.call_tool("create_upload", {})).structured_content["url"]
    text = tmp_path / "no-picture.png"
    text.write_text("this is no picture at all, whatever its name says" * 3)
    with browsing(tmp_path / "profile") as browser:
        browser.open(url)
        browser.choose("#file", text)
        refusal = browser.wait_for(SAID)
        expected = browser.problems[:]  # the browser logs the status of the refused request
        browser.choose("#file", PHOTOS / "coffee.jpg")
        handle = browser.wait_for(HANDLE)
        said = browser.evaluate(SAID)
        shown = browser.evaluate("document.getElementById('preview').naturalWidth")
        assert all("415" in problem for problem in expected)
        assert browser.problems == expected
    assert "no image that is known" in refusal
    assert "600 × 400 jpeg received" in said
    assert shown == 600
    async with Client(f"{server.url}/mcp") as client:
        (item,) = (await client.call_tool("list_images", {"query": "coffee"})).structured_content["items"]
    assert item["image"] == handle
