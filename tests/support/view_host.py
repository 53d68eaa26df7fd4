"""A host of MCP Apps views for tests, written from the extension's specification of 2026-01-26.

A page in Chromium loads a sandbox proxy of another origin, which loads the view with the policy that the specification
builds from the view's `_meta`. All messages of the view are kept, and a plan says what the host answers.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.browser import Tab

WEB = Path(__file__).with_name("view_host")
Message = dict[str, Any]
Files = Callable[[str], tuple[bytes, str] | None]

SELF, NONE = "'self'", "'none'"
CAPABILITIES: Message = {"openLinks": {}, "serverTools": {}}


def policy(csp: Mapping[str, Sequence[str]]) -> str:
    """Return the policy that a host builds from a view's domains."""
    static, connect = (" ".join(csp.get(name, ())) for name in ("resourceDomains", "connectDomains"))
    frames, bases = (" ".join(csp.get(name, ())) for name in ("frameDomains", "baseUriDomains"))
    return (
        f"default-src 'none'; script-src 'self' 'unsafe-inline' {static}; style-src 'self' 'unsafe-inline' {static};"
        f" connect-src 'self' {connect}; img-src 'self' data: {static}; font-src 'self' {static};"
        f" media-src 'self' data: {static}; frame-src {frames or NONE}; object-src 'none';"
        f" base-uri {bases or SELF}"
    )


@contextmanager
def served(files: Files, csp: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """Serve files on the loopback interface. Yield the origin, and the paths that were requested so far."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            found = files(self.path)
            self.send_response(200 if found else 404)
            if found and csp is not None:
                self.send_header("Content-Security-Policy", csp)
            body, kind = found or (b"", "text/plain")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def page_file(name: str) -> Files:
    """Return files with one page, at `/`, and the icon that browsers ask for."""
    page = (WEB / name).read_bytes(), "text/html; charset=utf-8"
    return lambda path: {"/": page, "/favicon.ico": (b"", "image/x-icon")}.get(path.split("?")[0])


class ViewHost:
    """A host page in a tab, with one view."""

    def __init__(self, page: Tab, address: str, proxy: str) -> None:
        self.page = page
        self._address = address
        self._proxy = proxy
        self._context = 0

    def show(self, html: str, *, width: int = 720, theme: str = "light", **plan: Any) -> None:
        """Load a view and wait until it is connected.

        The plan: `result`, `input` and `tool` are those of the call; `answers` the results of the view's own calls by
        tool; `capabilities` those of the host; `refuses` the methods that it refuses.
        """
        plan = {"capabilities": CAPABILITIES, "answers": {}, "refuses": [], "input": {}, "tool": "status"} | plan
        plan |= {"html": html, "theme": theme, "proxy": self._proxy}
        # The browser's scheme is the other one, so only the host's can be the cause.
        self.page.open(f"{self._address}/?", width=width, dark=theme == "light")
        self.page.evaluate(f"window.show({json.dumps(plan)})")
        self.page.until("window.sent('ui/notifications/initialized').length === 1")
        self._context = self._view_context()

    def _view_context(self) -> int:
        frame = self.page.call("Page.getFrameTree")["frameTree"]
        while frame.get("childFrames"):
            frame = frame["childFrames"][0]
        world = self.page.call("Page.createIsolatedWorld", frameId=frame["frame"]["id"], worldName="test")
        return int(world["executionContextId"])

    def inside(self, expression: str) -> Any:
        """Evaluate an expression in the view's document, apart from its scripts."""
        given = {"contextId": self._context, "returnByValue": True, "awaitPromise": True}
        answer = self.page.call("Runtime.evaluate", expression=expression, **given)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression is true in the view's document."""
        for _ in range(600):
            if self.inside(f"Boolean({expression}) || new Promise((done) => setTimeout(done, 50, false))"):
                return
        raise AssertionError(f"{expression}\n{self.text()}")

    def until_title(self, title: str) -> None:
        """Wait until the view has this title."""
        self.until(f"document.getElementById('title').textContent === {json.dumps(title)}")

    def text(self) -> str:
        """Return the text that the view shows."""
        return str(self.inside("document.body.innerText"))

    def sent(self, method: str) -> list[Message]:
        """Return the messages of the view with a method."""
        return list(self.page.evaluate(f"window.sent({json.dumps(method)})"))

    def send(self, message: Message) -> None:
        """Send a message to the view, as the host."""
        self.page.evaluate(f"window.toView({json.dumps({'jsonrpc': '2.0', **message})})")

    def result(self, result: Message) -> None:
        """Send another result of the tool."""
        self.send({"method": "ui/notifications/tool-result", "params": result})

    def press(self, key: str) -> None:
        """Click the button with this key."""
        self.inside(f"document.querySelector('[data-key={key}]').click()")


@contextmanager
def view_host(page: Tab, csp: Mapping[str, Sequence[str]]) -> Iterator[tuple[ViewHost, list[str]]]:
    """Yield a host, and the paths that its two origins were asked for."""
    page.call("Page.enable")
    with (
        served(page_file("host.html")) as (address, asked),
        served(page_file("proxy.html"), policy(csp)) as (proxy, of_proxy),
    ):
        yield ViewHost(page, address, proxy), _Both(asked, of_proxy)


class _Both(list[str]):
    def __init__(self, *parts: list[str]) -> None:
        super().__init__()
        self._parts = parts

    def __iter__(self) -> Iterator[str]:
        return (path for part in self._parts for path in part)
