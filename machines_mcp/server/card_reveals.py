"""Run reveals for the server: start vaults, and track the open card pages."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio

from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.redaction.sink import Sink
from machines_mcp.server.partner_connection import path_text
from machines_mcp.server.reveal_page import RevealPage, record_reveal, to_revealed
from machines_mcp.storage.slots import Slot, Slots, SlotsTaken
from machines_mcp.tools.services import Outcome, Revealed
from machines_mcp.vault import client
from machines_mcp.vault.public_key import Recipient, read_recipient
from machines_mcp.vault.request import PageDetail, PageOptions, VaultRequest, Verifier

if TYPE_CHECKING:
    from machines_mcp.permissions.approval import Approval
    from machines_mcp.permissions.factory import Guard
    from machines_mcp.permissions.policy import SealingKey
    from machines_mcp.redaction.secret import Secret
    from machines_mcp.server.settings import Settings

REVEAL_SECONDS = 20.0
WAIT_SECONDS = 30.0
"""How long a reveal waits for another one to end."""
AFTER_EXPIRY_SECONDS = 125.0
"""How long a page may outlive its approval: a yes in the last second still shows the card, with more time if asked."""
END_SECONDS = 5.0
"""How long a page that is cancelled may take to end."""
RETRY_SECONDS = 15
PAGE_WAIT_SECONDS = 0.5
START_SECONDS = 20.0
MAX_VAULTS = 2
"""Vaults without a page at once, in all servers of the state folder. Each takes about 40 MB."""
MAX_PAGES = 3
"""Open pages at once, in all servers of the state folder."""


class CardReveals:
    """Starts vaults. `address` returns the Partner API's URL and key."""

    def __init__(self, settings: Settings, guard: Guard, address: Callable[[], Awaitable[tuple[str, Secret]]]) -> None:
        self._settings = settings
        self._guard = guard
        self._address = address
        self._turn = anyio.Lock()
        self._pages: dict[str, RevealPage] = {}
        self._slots = Slots(settings.state_dir, "vault", MAX_VAULTS)
        self._page_slots = Slots(settings.state_dir, "page", MAX_PAGES)

    async def reveal(self, user_id: str, card_id: str, last4: str, sink: Sink) -> Revealed:
        """Reveal one card to any sink except `page`. The vault process has ended when this returns.

        Raises:
            ToolError: The policy has no key to seal to, or too many reveals wait.
            Frozen: The changes of this user are frozen.
        """
        needs: dict[str, Any] = {"deadline_seconds": REVEAL_SECONDS}
        if sink == "sealed":
            needs["recipient"] = _recipient(self._guard.policy.sealed_key)
        if sink == "model":
            needs["with_code"] = self._guard.policy.reveal_model_cvc
        try:
            async with self._slots.taken(WAIT_SECONDS):
                # Here, because a freeze stops even a reveal that was already approved.
                await self._guard.freezes.refuse(user_id)
                reply = await client.reveal(await self._request(user_id, card_id, last4, sink, **needs))
        except SlotsTaken:
            raise _busy("Other reveals are running, and none ended in time. Nothing was fetched.") from None
        record_reveal(self._guard, reply, sink, user_id, card_id)
        return to_revealed(reply)

    async def page(self, approval: Approval, last4: str, outcome: Outcome) -> str:
        """Return the URL of the page where a person approves this reveal and sees the card, starting it if needed.

        The page stores its result, converted by `outcome`, with the approval.

        Raises:
            ToolError: No passphrase is set, too many pages are open, or the vault didn't start.
        """
        async with self._turn:
            page = self._pages.get(approval.id)
            if page is None or page.has_reply:
                if page is not None:
                    await _end(page)
                page = await self._open(approval, last4, outcome)
            return page.address

    async def ended(self, approval_id: str) -> None:
        """Wait until the open page for this approval, if any, has ended and its outcome is stored."""
        page = self._pages.get(approval_id)
        if page is not None:
            await page.ended.wait()

    async def close(self) -> None:
        """Cancel every open page and wait for it to end."""
        tasks = [task for page in self._pages.values() if (task := page.cancel()) is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, approval: Approval, last4: str, outcome: Outcome) -> RevealPage:
        self._pages = {known: page for known, page in self._pages.items() if not page.has_exited}
        order = PageOptions(
            handle=secrets.token_urlsafe(16),
            asked_by=approval.asked_by,
            environment=self._settings.environment,
            details=page_details(approval),
            expires_at=approval.expires_at,
            verifier=await self._verifier(approval),
            may_copy=self._guard.policy.reveal_copy,
        )
        left = max(0.0, approval.expires_at - time.time())
        needs = {"page": order, "deadline_seconds": left + AFTER_EXPIRY_SECONDS}
        request = await self._request(approval.user_id, approval.card_id or "", last4, "page", **needs)
        page = RevealPage(self._guard, approval, order.handle, outcome, order.verifier)
        page.start(request, await self._page_slot())
        self._pages[approval.id] = page
        with anyio.move_on_after(START_SECONDS):
            await page.ready.wait()
        if not page.port:
            page.cancel()
            raise ToolError(Code.REVEAL_FAILED, details={"reason": "page.not_started"})
        return page

    async def _page_slot(self) -> Slot:
        """Take a slot. If all are taken, end a page of this server that can show no card any more.

        Raises:
            ToolError: All stayed taken.
            StoreUnavailable: The state folder can't be used.
        """
        with suppress(SlotsTaken):
            return await self._page_slots.take(PAGE_WAIT_SECONDS)
        for page in self._pages.values():
            if not page.has_exited and await page.is_over():
                await _end(page)
                break
        try:
            return await self._page_slots.take(PAGE_WAIT_SECONDS)
        except SlotsTaken:
            raise _busy("Three card pages already wait for a person. Ask them to decide those first.") from None

    async def _verifier(self, approval: Approval) -> Verifier | None:
        if not self._guard.policy.needs_passphrase:
            return None
        found = await self._guard.passphrase.verifier()
        if found is None:
            message = "No passphrase is set, so nothing can be approved. The operator must run machines-mcp passphrase."
            raise ToolError(Code.APPROVAL_REQUIRED, message=message, details={"approval_id": approval.id})
        return Verifier(salt=found.salt, key=found.key)

    async def _request(self, user_id: str, card_id: str, last4: str, sink: Sink, **needs: Any) -> VaultRequest:
        url, key = await self._address()
        return VaultRequest(
            base_url=url,
            partner_key=key,
            user_id=user_id,
            card_id=card_id,
            last4=last4,
            sink=sink,
            proxy=self._settings.proxy,
            ca_certificates=self._settings.ca_certificates,
            trace=path_text(self._settings.trace),
            **needs,
        )


async def _end(page: RevealPage) -> None:
    """Cancel a page, and wait a bounded time until its slot is free."""
    if (task := page.cancel()) is not None:
        await asyncio.wait([task], timeout=END_SECONDS)


def _busy(message: str) -> ToolError:
    return ToolError(Code.RATE_LIMITED, message=message, details={"retry_after_seconds": RETRY_SECONDS})


def page_details(approval: Approval) -> tuple[PageDetail, ...]:
    """Return the rows of the approval for the vault's page: the same as on every other surface."""
    return tuple(
        PageDetail(label=item.label, value=item.line(), note="; ".join(filter(None, (item.origin, item.note))) or None)
        for item in approval.details.items
    )


def _recipient(key: SealingKey | None) -> Recipient:
    if key is None:
        raise ToolError(Code.REVEAL_FAILED, details={"reason": "recipient.unusable"})
    return read_recipient(key.jwk)
