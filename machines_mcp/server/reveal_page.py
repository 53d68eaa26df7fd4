"""Track one vault page for the server: pass on the decision, and store the outcome."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable
from contextlib import suppress
from math import ceil
from typing import TYPE_CHECKING

import anyio

from machines_mcp.permissions.passphrase_tries import MAX_DELAY_SECONDS
from machines_mcp.redaction.sink import Sink
from machines_mcp.storage.audit_record import AuditEntry
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.failpoints import failpoint
from machines_mcp.storage.slots import Slot
from machines_mcp.tools.services import Outcome, Revealed
from machines_mcp.vault import page_client
from machines_mcp.vault.reply import PlaintextReply, SealedReply, VaultReply

if TYPE_CHECKING:
    from machines_mcp.permissions.approval import Approval
    from machines_mcp.permissions.factory import Guard
    from machines_mcp.vault.request import VaultRequest

logger = logging.getLogger(__name__)


WATCH_SECONDS = 1.0
"""How often a page looks whether its approval was refused elsewhere."""
LINGER_SECONDS = 10.0
"""How long it then still answers, that it is no longer open."""


class RevealPage:
    """One open page: the `PageCallbacks` for events from the vault."""

    def __init__(self, guard: Guard, approval: Approval, handle: str, outcome: Outcome) -> None:
        self._guard = guard
        self._approval = approval
        self._handle = handle
        self._outcome = outcome
        self._granted = False
        self.port = 0
        self.has_reply = False
        self.ready = anyio.Event()
        self.ended = anyio.Event()
        self._task: asyncio.Task[VaultReply] | None = None

    def start(self, request: VaultRequest, slot: Slot) -> None:
        """Start the vault that serves the page. The slot is freed when the vault has ended."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(page_client.show_card(request, self))
        watch = loop.create_task(self._end_after_refusal())
        # Not at the end of the task's coroutine: a task that is cancelled before it begins runs none of it.
        self._task.add_done_callback(lambda _: slot.free())
        self._task.add_done_callback(lambda _: watch.cancel())

    def cancel(self) -> asyncio.Task[VaultReply] | None:
        """Cancel the page, and return its task if it was started."""
        if self._task is not None:
            self._task.cancel()
        return self._task

    async def is_over(self) -> bool:
        """Whether the page can show no card any more: its card was seen, or its approval was refused elsewhere.

        Raises:
            StoreUnavailable: The approval can't be read.
        """
        if self.ended.is_set():
            return True
        found = await self._guard.approvals.get(self._approval.id)
        return found is None or found.state == "refused"

    async def _end_after_refusal(self) -> None:
        """End the page some time after a refusal elsewhere, by any process, so that others get its slot."""
        over = False
        while not over:
            await anyio.sleep(WATCH_SECONDS)
            with suppress(StoreUnavailable):
                over = await self.is_over()
        if not self.ended.is_set():
            await anyio.sleep(LINGER_SECONDS)
            self.cancel()

    @property
    def address(self) -> str:
        """URL of the page."""
        return f"http://127.0.0.1:{self.port}/{self._handle}"

    @property
    def has_exited(self) -> bool:
        """Whether the vault process has ended."""
        return self._task is None or self._task.done()

    def on_listening(self, port: int) -> None:
        self.port = port
        failpoint("vault.started")
        self.ready.set()

    async def on_try(self) -> int:
        return await self._wait(self._guard.passphrase.tries.begin("page"))

    async def on_checked(self, *, right: bool) -> int:
        return await self._wait(self._guard.passphrase.tries.end("page", right=right))

    async def _wait(self, counted: Awaitable[float]) -> int:
        try:
            return ceil(await counted)
        except StoreUnavailable:
            # Without a count there is no limit on guesses, so nothing is checked.
            return MAX_DELAY_SECONDS

    async def on_approved(self) -> bool:
        try:
            self._granted = await self._guard.channels.grant_and_consume(self._approval.id, "page") == "granted"
            failpoint("reveal.taken")
        except StoreUnavailable:
            return False
        return self._granted

    async def on_reply(self, reply: VaultReply) -> None:
        self.has_reply = True
        self.ready.set()
        try:
            record_reveal(self._guard, reply, "page", self._approval.user_id, self._approval.card_id, self._approval.id)
            if self._granted:
                ended = self._outcome(to_revealed(reply))
                await self._guard.authorizer.finish(
                    self._approval, json.dumps(ended.answer), ok=ended.ok, code=ended.code
                )
            elif reply.code == "page.refused":
                await self._guard.channels.refuse(self._approval.id, "page")
        except StoreUnavailable:
            await self._guard.authorizer.release(self._approval)
            logger.error("the outcome of a card page could not be stored")
        finally:
            failpoint("reveal.finished")
            self.ended.set()


def record_reveal(
    guard: Guard, reply: VaultReply, sink: Sink, user_id: str, card_id: str | None, approval_id: str | None = None
) -> None:
    """Write the audit row for a reveal, in addition to any row for the call."""
    entry = AuditEntry(
        kind="reveal",
        tool="reveal_card",
        user_id=user_id,
        approval_id=approval_id,
        verdict=reply.status,
        code=reply.code,
        sink=sink,
        card_id=card_id,
    )
    guard.audit.note(entry)
    if reply.code == "secrets.mismatch":
        # The vault has no audit log of its own.
        guard.audit.alarm("response.mismatch:vault")


def to_revealed(reply: VaultReply) -> Revealed:
    """Convert the vault's reply to the tool's type."""
    return Revealed(
        ok=reply.status != "failed",
        code=reply.code,
        brand=reply.brand,
        last4=reply.last4,
        expiration_month=reply.expiration_month,
        expiration_year=reply.expiration_year,
        jwe=reply.jwe if isinstance(reply, SealedReply) else None,
        pan=reply.pan if isinstance(reply, PlaintextReply) else None,
        cvc=reply.cvc if isinstance(reply, PlaintextReply) else None,
    )
