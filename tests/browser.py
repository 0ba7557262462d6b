"""Chromium without a window, spoken to through two pipes: pages as a phone or a desk shows them, in light and dark.

Debian and Ubuntu have it as the package chromium.  The protocol is that of the browser's own developer tools: JSON
texts that end in NUL, on the file descriptors 3 and 4 (chromedevtools.github.io/devtools-protocol).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = "no chromium here (Debian and Ubuntu: apt install chromium)"
_PATIENCE = 60.0  # seconds that one answer may take on a machine that has other work


class Browser:
    """One page of a running Chromium."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._read, self._number = to, back, b"", 0
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command to the page."""
        return self._call(method, self._session, **parameters)

    def look(self, page: Path, width: int = 1280, height: int = 900, dark: bool = False, anchor: str = "") -> None:
        """Show a file as a screen of this width does; returns once it is loaded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url="about:blank")  # or a change of the anchor alone would load nothing
        self.call("Page.navigate", url=page.resolve().as_uri() + anchor)
        deadline = time.monotonic() + _PATIENCE
        while not self.run("document.readyState === 'complete' && location.protocol === 'file:'"):
            assert time.monotonic() < deadline, f"{page} is not loaded"
            time.sleep(0.02)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def picture(self, whole: bool = False) -> bytes:
        """A PNG of what shows, or of the whole page."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"])

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        os.write(self._to, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            answer = self._answer()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])

    def _answer(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            assert select.select([self._back], [], [], _PATIENCE)[0], "the browser does not answer"
            more = os.read(self._back, 1 << 20)
            assert more, "the browser has ended"
            self._read += more
        text, _, self._read = self._read.partition(b"\0")
        return dict(json.loads(text))


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A Chromium of its own, whose profile lies in ``folder``; it ends with the block."""
    assert PROGRAM is not None, MISSING
    theirs_in, to = os.pipe()
    back, theirs_out = os.pipe()

    def connect() -> None:
        keep = os.dup(theirs_in), os.dup(theirs_out)
        os.dup2(keep[0], 3)
        os.dup2(keep[1], 4)

    command = [PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
               "--disable-background-networking", "--hide-scrollbars", "--remote-debugging-pipe",
               f"--user-data-dir={folder}", "about:blank"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               close_fds=False, preexec_fn=connect)
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(to, back)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(to)
        os.close(back)
