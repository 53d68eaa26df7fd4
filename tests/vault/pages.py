"""A vault page under test, in this process or in a vault, and an HTTP client that acts like a browser."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import anyio
import httpx

from machines_mcp.redaction.environment import Environment
from machines_mcp.redaction.secret import Secret
from machines_mcp.vault.client import COMMAND
from machines_mcp.vault.page import CardPage
from machines_mcp.vault.page_client import show_card
from machines_mcp.vault.reply import Denial, VaultReply
from machines_mcp.vault.request import PageDetail, PageOptions, VaultRequest, Verifier
from tests.support.in_process import InProcessTransport
from tests.support.vault_simulator import OpenedCard
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from machines_mcp.vault.parent_pipe import ParentPipe

PASSPHRASE = "correct horse battery"
HANDLE = "the-handle-of-this-page-1"
# The port has no listener: only the transport reaches a page in this process.
PORT = 9


def verifier(passphrase: str = PASSPHRASE) -> Verifier:
    salt = secrets.token_bytes(16)
    key = hashlib.scrypt(passphrase.encode(), salt=salt, n=2**14, r=8, p=1, maxmem=2**26, dklen=32)
    return Verifier(salt=salt.hex(), key=key.hex(), n=16384)


def page_request(base_url: str, partner_key: str, card: OpenedCard, **changes: Any) -> VaultRequest:
    """Return a request for a page for this card. Changes are fields of the page options or of the request."""
    order: dict[str, Any] = {
        "handle": HANDLE,
        "asked_by": "Test Client 1.0",
        "environment": "sandbox",
        "details": (
            PageDetail(label="User", value=card.user_id),
            PageDetail(label="Card", value=f"ending {card.last4}"),
            PageDetail(label="Status", value="active"),
            PageDetail(label="Limit", value="$50.00 per 30 days"),
        ),
        "expires_at": time.time() + PATIENCE,
        "verifier": verifier(),
        "may_copy": False,
    }
    fields: dict[str, Any] = {
        "base_url": base_url,
        "partner_key": Secret(partner_key),
        "user_id": card.user_id,
        "card_id": card.card_id,
        "last4": card.last4,
        "sink": "page",
        "deadline_seconds": 90.0,
    }
    order |= {name: changes.pop(name) for name in list(changes) if name in order}
    options = PageOptions(**order | {"environment": Environment(order["environment"])})
    return VaultRequest(**fields | changes, page=options)


@dataclass
class PageEvents:
    """Records the vault's events, and holds the responses to them."""

    waits: list[int] = field(default_factory=list)
    """The answers to the next tries, in seconds; without one, a passphrase may be checked at once."""
    delay: int = 0
    """The answer to a wrong passphrase, in seconds."""
    lapsed: Denial | None = None
    """The answer to a look."""
    denied: Denial | None = None
    """The answer to a decision."""
    uncounted: bool = False
    """Whether tries can't be counted."""
    looks: int = 0
    tries: int = 0
    wrongs: int = 0
    asked: int = 0
    refused: int = 0
    replies: list[VaultReply] = field(default_factory=list)
    port: int = 0
    open: anyio.Event = field(default_factory=anyio.Event)
    over: anyio.Event = field(default_factory=anyio.Event)
    gone: anyio.Event = field(default_factory=anyio.Event)

    def on_listening(self, port: int) -> None:
        self.port = port
        self.open.set()

    async def on_look(self) -> Denial | None:
        self.looks += 1
        return self.lapsed

    async def on_try(self) -> int | None:
        self.tries += 1
        if self.uncounted:
            return None
        return self.waits.pop(0) if self.waits else 0

    async def on_checked(self, *, right: bool) -> int | None:
        self.wrongs += not right
        return 0 if right else self.delay

    async def on_approved(self) -> Denial | None:
        self.asked += 1
        return self.denied

    async def on_refused(self) -> Denial | None:
        self.refused += 1
        return self.denied

    async def end(self) -> VaultReply:
        """Wait for the one reply and return it."""
        with anyio.fail_after(PATIENCE):
            await self.over.wait()
        (reply,) = self.replies
        return reply

    async def on_reply(self, reply: VaultReply) -> None:
        self.replies.append(reply)
        self.over.set()
        self.open.set()


@dataclass
class OpenPage:
    """The page as a browser uses it, with a browser's headers."""

    notes: PageEvents
    http: httpx.AsyncClient
    token: str = ""
    handle: str = HANDLE

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.notes.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/{self.handle}"

    async def get(self, **headers: str) -> httpx.Response:
        answer = await self.http.get(self.url, headers={"Sec-Fetch-Site": "none"} | headers)
        found = re.search(r'name="token" value="([^"]+)"', answer.text)
        self.token = found[1] if found else self.token
        return answer

    async def press(self, passphrase: str | None = PASSPHRASE, decision: str = "show", **form: str) -> httpx.Response:
        return await self.post(self.form(passphrase, decision) | form)

    def form(self, passphrase: str | None = PASSPHRASE, decision: str = "show") -> dict[str, str]:
        form = {"token": self.token, "decision": decision}
        return form if passphrase is None else form | {"passphrase": passphrase}

    async def post(self, form: dict[str, str], path: str | None = None, **headers: str) -> httpx.Response:
        browser = {"Origin": self.origin, "Sec-Fetch-Site": "same-origin"}
        sent = {name: value for name, value in (browser | headers).items() if value}
        return await self.http.post(path or f"{self.url}/decide", data=form, headers=sent)


class _ParentPipe:
    """The vault's end of the pipe to its parent, with `notes` as the parent."""

    def __init__(self, notes: PageEvents) -> None:
        self._notes = notes

    async def look(self) -> Denial | None:
        return await self._notes.on_look()

    async def may_check_passphrase(self) -> int | None:
        return await self._notes.on_try()

    async def report_passphrase(self, *, right: bool) -> int | None:
        return await self._notes.on_checked(right=right)

    async def show(self) -> Denial | None:
        return await self._notes.on_approved()

    async def refuse(self) -> Denial | None:
        return await self._notes.on_refused()


@asynccontextmanager
async def open_page(request: VaultRequest, notes: PageEvents | None = None) -> AsyncIterator[OpenPage]:
    """Yield the page as an ASGI application of this process, after one GET."""
    notes = notes or PageEvents()
    notes.on_listening(PORT)
    app = CardPage(request, cast("ParentPipe", _ParentPipe(notes)), PORT)

    async def tell() -> None:
        await app.finished.wait()
        await notes.on_reply(app.reply)

    transport = InProcessTransport(app)
    async with anyio.create_task_group() as tasks, httpx.AsyncClient(transport=transport) as http:
        tasks.start_soon(tell)
        page = OpenPage(notes, http)
        await page.get()
        yield page
        tasks.cancel_scope.cancel()
    await transport.stop()


@asynccontextmanager
async def open_page_in_vault(
    request: VaultRequest, notes: PageEvents | None = None, *, command: tuple[str, ...] = COMMAND
) -> AsyncIterator[OpenPage]:
    """Yield the page of a vault process, after one GET. The vault is gone when the block ends."""
    notes = notes or PageEvents()
    with anyio.fail_after(100.0):
        async with anyio.create_task_group() as tasks, httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:

            async def run() -> None:
                await show_card(request, notes, command=command)
                notes.gone.set()

            tasks.start_soon(run)
            await notes.open.wait()
            page = OpenPage(notes, http)
            await page.get()
            yield page
            tasks.cancel_scope.cancel()
