"""A page of the vault before a real browser; the server's side has a loop of its own, so that the test may block."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from machines_mcp.vault.page_client import show_card
from machines_mcp.vault.reply import VaultReply
from tests.sandbox.browser import Tab
from tests.vault.pages import HANDLE, PASSPHRASE, Notes, page_request
from tests.vault.simulator import Card, Simulator

# What the page shows where a person looks.
TEXT = "document.body.innerText"
ASKED = "document.querySelector('form [name=decision]') !== null"
SHOWN = "document.getElementById('card') !== null"
ENDED = f"document.readyState === 'complete' && !({ASKED}) && !({SHOWN})"


@dataclass
class SeenPage:
    """The page, its address, and the tab it is open in."""

    tab: Tab
    notes: Notes
    portal: BlockingPortal
    card: Card

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.notes.port}/{HANDLE}"

    def open(self, *, width: int = 1280, dark: bool = False) -> None:
        self.tab.open(self.url, width=width, dark=dark)

    def type(self, text: str) -> None:
        """Type into the field that has the focus, once it has: that comes a moment after the page is complete."""
        self.tab.until("document.activeElement !== null && document.activeElement.tagName === 'INPUT'")
        self.tab.call("Input.insertText", text=text)
        self.tab.until(f"document.activeElement.value.endsWith({json.dumps(text)})")

    def enter(self) -> None:
        self.tab.press("Enter", 13, "\r")

    def answer(self, passphrase: str = PASSPHRASE) -> None:
        """Type the passphrase and press Enter; then it is shown."""
        self.type(passphrase)
        self.enter()
        self.tab.until(SHOWN)

    def shows_number(self) -> bool:
        """Whether the number stands anywhere on the page, seen or not."""
        whole = "document.documentElement.outerHTML + document.documentElement.textContent"
        text = str(self.tab.evaluate(whole))
        plain = "".join(character for character in text if character.isdigit())
        return self.card.number in plain

    def reply(self) -> VaultReply:
        return self.portal.call(self.notes.end)


@contextmanager
def seen(tab: Tab, api: Simulator, card: Card, **changes: Any) -> Iterator[SeenPage]:
    """A page for this card; the vault is gone when the block has ended."""
    request = page_request(api.base_url, api.partner_key, card, **changes)
    with start_blocking_portal() as portal:
        notes = Notes()
        running = portal.start_task_soon(lambda: show_card(request, notes))
        try:
            portal.call(notes.open.wait)
            yield SeenPage(tab, notes, portal, card)
        finally:
            running.cancel()
