"""A real headless Chromium for the tests, spoken to over its DevTools pipe with nothing but the standard library.

It runs without network: a page that tries to load something is caught by the list of requests, and gets nothing.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SECONDS = 90.0
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--no-default-browser-check",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
)


def chromium() -> str:
    """Return the program, or skip the test where there is none; in continuous integration its absence is a failure."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        reason = "no Chromium here (apt-get install chromium)"
        if os.environ.get("SALIENCY_NEEDS_CHROMIUM"):
            pytest.fail(f"{reason}, and SALIENCY_NEEDS_CHROMIUM says that it must be")
        pytest.skip(reason)
    return found


class Browser:
    """One Chromium process; ``open`` shows a file in a fresh page."""

    def __init__(self) -> None:
        program = chromium()
        self._folder = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        their_in, self._out = os.pipe()
        self._in, their_out = os.pipe()
        words = [program, *FLAGS, f"--user-data-dir={self._folder.name}", "about:blank"]
        # Chromium reads commands from descriptor 3 and answers on 4; a shell puts the pipes there.
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", f'exec "$@" 3<&{their_in} 4>&{their_out}', "chromium", *words],
            pass_fds=(their_in, their_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_in)
        os.close(their_out)
        os.set_blocking(self._in, False)
        self._rest = b""
        self._count = 0
        self.events: list[dict[str, Any]] = []

    def close(self) -> None:
        with suppress(OSError, AssertionError):
            self.send("Browser.close")
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._folder.cleanup()

    def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come in between are kept."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + SECONDS
        while True:
            answer = self._next(until)
            if answer.get("id") == self._count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def wait(self, method: str, session: str) -> None:
        """Wait until an event has come."""
        until = time.monotonic() + SECONDS
        while not any(event.get("method") == method and event.get("sessionId") == session for event in self.events):
            self.events.append(self._next(until))

    def _next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert time.monotonic() < until, "Chromium does not answer"
            try:
                piece = os.read(self._in, 1 << 20)
            except BlockingIOError:
                time.sleep(0.005)
                continue
            assert piece, "Chromium went away"
            self._rest += piece
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def open(self, path: Path, width: int = 1280, height: int = 900, *, dark: bool = False, grey: bool = False) -> Page:
        """Show a file at a size in CSS pixels, in light or dark, with or without colours."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime", "Audits"):
            self.send(f"{domain}.enable", session)
        self.send(
            "Emulation.setDeviceMetricsOverride",
            session,
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", session, features=scheme)
        if grey:
            self.send("Emulation.setEmulatedVisionDeficiency", session, type="achromatopsia")
        page = Page(self, target, session, path.resolve().as_uri())
        self.send("Page.navigate", session, url=page.url)
        self.wait("Page.loadEventFired", session)
        until = time.monotonic() + SECONDS
        while not page.evaluate("location.protocol === 'file:' && document.readyState === 'complete'"):
            assert time.monotonic() < until, f"{path} does not load"
            time.sleep(0.01)
        return page


class Page:
    """One open page."""

    def __init__(self, browser: Browser, target: str, session: str, url: str) -> None:
        self._browser, self._target, self._session, self.url = browser, target, session, url

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, which runs from outside of the page."""
        made = self._browser.send("Runtime.evaluate", self._session, expression=expression, returnByValue=True)
        assert "exceptionDetails" not in made, made["exceptionDetails"]
        return made["result"].get("value")

    def screenshot(self, path: Path, *, whole: bool = False, top: int = 0, height: int = 0) -> Path:
        """Write what is seen as PNG; ``whole`` takes all of the page, ``top`` and ``height`` a part of it."""
        clip: dict[str, Any] = {}
        if whole or height:
            width = self.evaluate("document.documentElement.clientWidth")
            total = self.evaluate("document.documentElement.scrollHeight")
            size = {"x": 0, "y": top, "width": width, "height": height or total, "scale": 1}
            clip = {"clip": size, "captureBeyondViewport": True}
        made = self._browser.send("Page.captureScreenshot", self._session, format="png", **clip)
        path.write_bytes(base64.b64decode(made["data"]))
        return path

    def pdf(self) -> bytes:
        """Return the page as it prints."""
        made = self._browser.send("Page.printToPDF", self._session, printBackground=False, preferCSSPageSize=True)
        return base64.b64decode(made["data"])

    def _events(self, method: str) -> list[dict[str, Any]]:
        mine = (event for event in self._browser.events if event.get("sessionId") == self._session)
        return [event["params"] for event in mine if event.get("method") == method]

    def requests(self) -> list[str]:
        """Return what was asked for beside the page itself and the data inside of it."""
        sent = [event["request"]["url"] for event in self._events("Network.requestWillBeSent")]
        return [url for url in sent if url != self.url and not url.startswith("data:")]

    def complaints(self) -> list[str]:
        """Return everything that the console, the log or the inspector said."""
        said = [str(event["entry"].get("text")) for event in self._events("Log.entryAdded")]
        said += [str(event) for event in self._events("Runtime.consoleAPICalled")]
        said += [str(event) for event in self._events("Runtime.exceptionThrown")]
        said += [str(event["issue"]["code"]) for event in self._events("Audits.issueAdded")]
        return said

    def close(self) -> None:
        self._browser.send("Target.closeTarget", targetId=self._target)
