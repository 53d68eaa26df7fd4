"""A vault page in Chromium. The server's side has its own event loop, so the test may block."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from machines_mcp.vault.page_client import show_card
from machines_mcp.vault.reply import VaultReply
from tests.support.browser import Tab
from tests.support.vault_simulator import OpenedCard, Simulator
from tests.vault.pages import HANDLE, PASSPHRASE, PageEvents, page_request

# The text that the page displays.
TEXT = "document.body.innerText"
ASKED = "document.querySelector('form [name=decision]') !== null"
SHOWN = "document.getElementById('card') !== null"
ENDED = f"document.readyState === 'complete' && !({ASKED}) && !({SHOWN})"


@dataclass
class BrowserPage:
    """The page, its address, and its tab."""

    tab: Tab
    notes: PageEvents
    portal: BlockingPortal
    card: OpenedCard
    vault: Future[VaultReply]
    """Cancelled to end the vault."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.notes.port}/{HANDLE}"

    def open(self, *, width: int = 1280, dark: bool = False) -> None:
        self.tab.open(self.url, width=width, dark=dark)

    def type(self, text: str) -> None:
        """Type into the input with the focus. The page sets the focus shortly after it has loaded."""
        self.tab.until("document.activeElement !== null && document.activeElement.tagName === 'INPUT'")
        self.tab.call("Input.insertText", text=text)
        self.tab.until(f"document.activeElement.value.endsWith({json.dumps(text)})")

    def enter(self) -> None:
        self.tab.press("Enter", 13, "\r")

    def answer(self, passphrase: str = PASSPHRASE) -> None:
        """Type the passphrase, press Enter and wait for the card."""
        self.type(passphrase)
        self.enter()
        self.tab.until(SHOWN)

    def until_text(self, text: str) -> None:
        """Wait until the page displays a text."""
        self.tab.until(f"({TEXT}).includes({json.dumps(text)})")

    def shows_number(self) -> bool:
        """Return whether the page contains the number, visible or not."""
        whole = "document.documentElement.outerHTML + document.documentElement.textContent"
        text = str(self.tab.evaluate(whole))
        plain = "".join(character for character in text if character.isdigit())
        return self.card.number in plain

    def reply(self) -> VaultReply:
        return self.portal.call(self.notes.end)


@contextmanager
def browser_page(tab: Tab, api: Simulator, card: OpenedCard, **changes: Any) -> Iterator[BrowserPage]:
    """Serve a page for this card. The vault is gone when the block ends."""
    request = page_request(api.base_url, api.partner_key, card, **changes)
    with start_blocking_portal() as portal:
        notes = PageEvents()
        running = portal.start_task_soon(lambda: show_card(request, notes))
        try:
            portal.call(notes.open.wait)
            yield BrowserPage(tab, notes, portal, card, running)
        finally:
            running.cancel()
