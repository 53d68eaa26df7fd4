"""The views in a host made with `@modelcontextprotocol/ext-apps`, whose schemas check every message of a view."""

from __future__ import annotations

import json
import mimetypes
from pathlib import Path
from typing import Any

import anyio
import pytest

from machines_mcp import __version__
from machines_mcp.tools.views import APPROVAL, CARD, VIEWS
from tests.support.browser import Tab, chromium, tab
from tests.support.view_host import served
from tests.support.view_results import USER, view_results

pytestmark = [
    pytest.mark.check,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed (as root, `make check` installs it)"),
]

HOST = Path(__file__).with_name("app_bridge.html")
PAGES = {view.uri: view.html() for view in VIEWS}


def files(node_modules: Path, path: str) -> tuple[bytes, str] | None:
    """Return the host's page, or a file of a package."""
    if path == "/":
        return HOST.read_bytes(), "text/html; charset=utf-8"
    found = node_modules / path.removeprefix("/modules/")
    kind = "text/javascript" if found.suffix in (".js", ".mjs") else mimetypes.guess_type(found.name)[0] or "text/plain"
    return (found.read_bytes(), kind) if path.startswith("/modules/") and found.is_file() else None


def seen(page: Tab, name: str) -> list[Any]:
    """Return what the bridge passed on under a name."""
    return [entry[1:] for entry in page.evaluate("window.seen") if entry[0] == name]


def wait_for(page: Tab, name: str) -> None:
    """Wait until the bridge has passed something on under a name."""
    page.until(f"window.seen?.some((entry) => entry[0] === {json.dumps(name)})")


def test_the_views_speak_the_protocol_of_the_reference_host(tmp_path: Path, node_modules: Path) -> None:
    program = chromium()
    assert program is not None
    results = anyio.run(view_results, tmp_path / "state")
    waiting = json.loads(results["required"]["content"][0]["text"])
    card_id = results["card"]["structuredContent"]["card_id"]
    answers = {name: results[result] for name, result in (("status", "status"), ("get_card", "locked"))}
    with (
        served(lambda path: files(node_modules, path)) as (address, _),
        tab(program, tmp_path / "profile") as page,
    ):
        page.open(f"{address}/", width=720, dark=False)
        wait_for(page, "loaded")
        for uri, result, call in (
            (APPROVAL, "required", {"name": "status", "arguments": {}}),
            (CARD, "card", {"name": "get_card", "arguments": {"user_id": USER, "card_id": card_id}}),
        ):
            plan = {"html": PAGES[uri], "result": results[result], "input": {"user_id": USER}, "answers": answers}
            plan |= {"sandbox": "allow-scripts allow-same-origin"}
            page.evaluate(f"window.show({json.dumps(plan)})")
            wait_for(page, "initialized")
            # Taller than without a result.
            page.until("window.seen.some(([name, size]) => name === 'size' && size.height > 250)")
            # The view of a waiting call has asked for the question; that of a card asks if its button is pressed.
            if uri == APPROVAL:
                wait_for(page, "call")
            page.press("Tab", 9)
            page.press("Enter", 13, "\r")
            wait_for(page, "link" if uri == APPROVAL else "call")
            page.evaluate("window.ended()")
            wait_for(page, "ended")
            (version, capabilities) = seen(page, "initialized")[0]
            assert (version, capabilities) == (
                {"name": "machines-mcp", "version": __version__},
                {"availableDisplayModes": ["inline"]},
            )
            assert seen(page, "call")[0] == [call]
            assert (seen(page, "ended"), seen(page, "error")) == ([[{}]], [])
            links = [[f"{waiting['desk']}decisions/{waiting['approval_id']}"]] if uri == APPROVAL else []
            assert seen(page, "link") == links
        # Some hosts give a view no origin.
        plan |= {"html": PAGES[APPROVAL], "result": results["required"], "sandbox": "allow-scripts"}
        page.evaluate(f"window.show({json.dumps(plan)})")
        wait_for(page, "call")
        assert seen(page, "error") == []
