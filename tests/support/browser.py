"""A headless Chromium controlled over pipes: opens a page, evaluates expressions, presses keys."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.readable import is_readable
from tests.support.waiting import PATIENCE

WAIT_SECONDS = 30.0
_LAUNCH = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)

# The lowest contrast of any text on the page, and its element. The background may belong to an ancestor.
CONTRAST = """(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (color) => { const [r, g, b] = color.map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (node) => { for (let at = node; at; at = at.parentElement) {
    const color = parse(getComputedStyle(at).backgroundColor); if (color.length < 4 || color[3] === 1) return color; }
    return [255, 255, 255]; };
  let worst = [99, ''];
  for (const node of document.body.querySelectorAll('*')) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own && !['INPUT', 'SELECT'].includes(node.tagName)) continue;
    const pair = [light(parse(getComputedStyle(node).color).slice(0, 3)), light(ground(node).slice(0, 3))].sort();
    const [dark, bright] = pair[0] < pair[1] ? pair : pair.reverse();
    const ratio = (bright + 0.05) / (dark + 0.05);
    if (ratio < worst[0]) worst = [ratio, node.tagName + ' ' + node.className];
  }
  return worst; })()"""


def chromium() -> str | None:
    """Return the path of Chromium, or None if it is not installed."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Tab:
    """A browser tab. Each method waits up to 30 seconds for a response."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._rest = write, read, b""
        self._ids = itertools.count(1)
        self.console: list[str] = []
        self._session: str | None = None
        self._target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]

    def another(self) -> Tab:
        """Return another tab of the browser. Use one tab at a time."""
        return Tab(self._write, self._read)

    def close(self) -> None:
        """Close the tab."""
        self.call("Target.closeTarget", targetId=self._target)

    def call(self, method: str, **params: Any) -> Any:
        """Send one DevTools protocol command and return its result."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            answer = json.loads(self._message(deadline))
            self._note(answer)
            if answer.get("id") == number:
                # A page that is replaced meanwhile has no value.
                if answer.get("error", {}).get("message") == "Inspected target navigated or closed":
                    return {"result": {}}
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def watch_console(self) -> None:
        """Keep each message of the console and each uncaught error in `console` from now on."""
        self.console.clear()
        for domain in ("Log", "Runtime"):
            self.call(f"{domain}.enable")

    def _note(self, event: Any) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Log.entryAdded":
                self.console.append(f"{params['entry']['source']}: {params['entry']['text']}")
            case "Runtime.consoleAPICalled":
                self.console.append(f"{params['type']}: {params['args']}")
            case "Runtime.exceptionThrown":
                self.console.append(f"uncaught: {params['exceptionDetails']}")

    def _message(self, deadline: float) -> bytes:
        while b"\0" not in self._rest:
            readable = is_readable(self._read, max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._read, 65_536) if readable else b""
            assert chunk, "the browser did not respond"
            self._rest += chunk
        message, _, self._rest = self._rest.partition(b"\0")
        return message

    def evaluate(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until the expression is true on the page."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not self._holds(expression):
            assert time.monotonic() < deadline, expression

    def _holds(self, expression: str) -> bool:
        try:
            return bool(self.evaluate(expression))
        except AssertionError as error:
            # The page was left while the browser evaluated it.
            if "navigated" in str(error):
                return False
            raise

    def open(self, url: str, *, width: int, dark: bool) -> None:
        """Open a page at a width and in a color scheme, with the page's scripts disabled."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call("Page.navigate", url=url)
        self.until(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    def press(self, key: str, code: int, text: str = "", *, modifiers: int = 0) -> None:
        """Press and release a key, with modifiers as DevTools number them."""
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
            self.call("Input.dispatchKeyEvent", **event | ({"text": text} if text and kind == "keyDown" else {}))

    def screenshot(self, file: Path) -> None:
        image = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(image))


@contextmanager
def tab(program: str, profile: Path) -> Iterator[Tab]:
    """Yield a tab. The browser ends with the `with` block."""
    ours_in, theirs_out = os.pipe()
    theirs_in, ours_out = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
    command = [sys.executable, "-c", _LAUNCH, *map(str, high), program, *options, f"--user-data-dir={profile}"]
    process = subprocess.Popen(command, pass_fds=high, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    for end in (theirs_in, theirs_out, *high):
        os.close(end)
    try:
        yield Tab(ours_out, ours_in)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(PATIENCE)
        os.close(ours_in)
        os.close(ours_out)
