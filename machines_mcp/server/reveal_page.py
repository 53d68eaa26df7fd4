"""Track one vault page for the server: pass on the decision, and store the outcome."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from math import ceil
from typing import TYPE_CHECKING

import anyio

from machines_mcp.permissions.decision import Decision
from machines_mcp.redaction.sink import Sink
from machines_mcp.storage.audit_record import AuditEntry
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.failpoints import failpoint
from machines_mcp.storage.slots import Slot
from machines_mcp.tools.services import Outcome, Revealed
from machines_mcp.vault import page_client
from machines_mcp.vault.reply import Denial, PlaintextReply, SealedReply, VaultReply, failed

if TYPE_CHECKING:
    from machines_mcp.permissions.approval import Approval
    from machines_mcp.permissions.factory import Guard
    from machines_mcp.vault.request import VaultRequest, Verifier

logger = logging.getLogger(__name__)


WATCH_SECONDS = 1.0
"""How often a page looks whether its approval was decided elsewhere or has expired."""
LINGER_SECONDS = 10.0
"""How long the page still answers after that."""

_UNDECIDED = frozenset({"deadline", "page.unused"})
"""How a page ends on which nothing was decided: it was cancelled, or its time was up."""
_DENIALS: Mapping[Decision, Denial] = {
    "frozen": "page.frozen",
    "limit_exceeded": "page.limit_exceeded",
    "not_allowed": "page.not_allowed",
    "unset": "page.unset",
}


class RevealPage:
    """One open page: the `PageCallbacks` for events from the vault."""

    def __init__(
        self, guard: Guard, approval: Approval, handle: str, outcome: Outcome, verifier: Verifier | None = None
    ) -> None:
        self._guard = guard
        self._verifier = verifier
        self._approval = approval
        self._handle = handle
        self._outcome = outcome
        self._granted = self._pressed = False
        self._lapsed: Denial | None = None
        self.port = 0
        self.has_reply = False
        self.ready = anyio.Event()
        self.ended = anyio.Event()
        self._task: asyncio.Task[VaultReply] | None = None

    def start(self, request: VaultRequest, slot: Slot) -> None:
        """Start the vault that serves the page. The slot is freed when the vault has ended."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(page_client.show_card(request, self))
        watch = loop.create_task(self._end_after_lapse())
        # Not at the end of the task's coroutine: a task that is cancelled before it begins runs none of it.
        self._task.add_done_callback(lambda _: slot.free())
        self._task.add_done_callback(lambda _: watch.cancel())

    def cancel(self) -> asyncio.Task[VaultReply] | None:
        """Cancel the page, and return its task if it was started."""
        if self._task is not None:
            self._task.cancel()
        return self._task

    async def is_over(self) -> bool:
        """Whether the page can show no card any more: it has ended, or its approval can't be decided any more.

        Raises:
            StoreUnavailable: The approval can't be read.
        """
        return self.ended.is_set() or await self._look() is not None

    async def _end_after_lapse(self) -> None:
        """End the page some time after its approval was decided elsewhere or expired, so that others get its slot."""
        over = False
        while not over:
            await anyio.sleep(WATCH_SECONDS)
            with suppress(StoreUnavailable):
                over = await self.is_over()
        if not self.ended.is_set():
            await anyio.sleep(LINGER_SECONDS)
            self.cancel()

    async def _look(self) -> Denial | None:
        """Return why the approval can't be decided any more; None if it can, or if the page has decided it."""
        lapsed = await self._lapse()
        # Only now, because the page may have decided it during the lookup.
        if not self._pressed:
            self._lapsed = lapsed
        return self._lapsed

    async def _lapse(self) -> Denial | None:
        found = await self._guard.approvals.get(self._approval.id)
        if found is None:
            return "page.gone"
        if found.state == "refused":
            return "page.withdrawn" if found.shown_state == "withdrawn" else "page.refused_elsewhere"
        if found.state != "waiting":
            return "page.used"
        if found.policy != self._guard.policy.digest:
            return "page.other_policy"
        if self._guard.approvals.is_expired(found):
            return "page.expired"
        return "page.new_passphrase" if await self._has_old_passphrase() else None

    async def _has_old_passphrase(self) -> bool:
        """Whether the passphrase was changed after the page opened: the page would still take the old one."""
        if self._verifier is None:
            return False
        current = await self._guard.passphrase.verifier()
        return current is not None and current.key != self._verifier.key

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

    async def on_look(self) -> Denial | None:
        with suppress(StoreUnavailable):
            return await self._look()
        return None

    async def on_try(self) -> int | None:
        return await self._wait(self._guard.passphrase.tries.begin("page"))

    async def on_checked(self, *, right: bool) -> int | None:
        return await self._wait(self._guard.passphrase.tries.end("page", right=right))

    async def _wait(self, counted: Awaitable[float]) -> int | None:
        try:
            return ceil(await counted)
        except StoreUnavailable:
            # Without a count there is no limit on guesses, so nothing is checked.
            return None

    async def on_approved(self) -> Denial | None:
        denied = await self._denial(lambda: self._guard.channels.grant_and_consume(self._approval.id, "page"))
        self._granted = denied is None
        failpoint("reveal.taken")
        return denied

    async def on_refused(self) -> Denial | None:
        return await self._denial(lambda: self._guard.channels.refuse(self._approval.id, "page"))

    async def _denial(self, decide: Callable[[], Awaitable[Decision]]) -> Denial | None:
        """Take the page's decision. Return why it was not taken; None if it was."""
        self._pressed = True
        try:
            if await self._has_old_passphrase():
                return "page.new_passphrase"
            decision = await decide()
            if decision in ("granted", "refused"):
                return None
            return _DENIALS.get(decision) or await self._lapse() or "page.gone"
        except StoreUnavailable:
            return "page.unavailable"

    async def on_reply(self, reply: VaultReply) -> None:
        self.has_reply = True
        self.ready.set()
        if self._lapsed is not None and reply.code in _UNDECIDED and not self._granted:
            reply = failed(self._lapsed)
        try:
            record_reveal(self._guard, reply, "page", self._approval.user_id, self._approval.card_id, self._approval.id)
            if self._granted:
                ended = self._outcome(to_revealed(reply))
                await self._guard.authorizer.finish(
                    self._approval, json.dumps(ended.answer), ok=ended.ok, code=ended.code
                )
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
