"""At most three card pages are open, and none that can show no card keeps others out. No vault starts here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.policy import Policy, default_policy
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.redaction.secret import Secret
from machines_mcp.server import card_reveals, reveal_page
from machines_mcp.server.card_reveals import MAX_PAGES, CardReveals
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.tools.services import PageOutcome, Revealed
from machines_mcp.vault import page_client
from machines_mcp.vault.page_client import PageCallbacks
from machines_mcp.vault.reply import VaultReply, failed
from machines_mcp.vault.request import VaultRequest
from tests.support.waiting import PATIENCE, eventually, eventually_async

pytestmark = pytest.mark.anyio

EMBEDDED = default_policy("embedded", read_only=False)


@dataclass
class Vaults:
    """Stands for the vaults: each page listens until it is cancelled or its test ends it."""

    stuck: bool = False
    callbacks: list[PageCallbacks] = field(default_factory=list)
    requests: list[VaultRequest] = field(default_factory=list)
    open: int = 0
    released: anyio.Event = field(default_factory=anyio.Event)

    async def show_card(self, request: VaultRequest, callbacks: PageCallbacks) -> VaultReply:
        self.open += 1
        self.callbacks.append(callbacks)
        self.requests.append(request)
        callbacks.on_listening(4711)
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                if self.stuck:
                    await self.released.wait()
                await callbacks.on_reply(failed("deadline"))
            self.open -= 1
        raise AssertionError


@dataclass
class Server:
    """One server of the state folder."""

    guard: Guard
    reveals: CardReveals

    async def ask(self, number: int) -> Approval:
        details = ApprovalDetails("Show?", card_id=f"card-{number:04}", sink="page", only="page")
        return await self.guard.approvals.open(
            CallRequest("reveal_card", ActionClass.REVEAL, f"user-{number}", str(number)), details
        )

    async def open_page(self, number: int) -> Approval:
        """Ask for a card, and open its page."""
        approval = await self.ask(number)
        assert await self.reveals.page(approval, "0421", _outcome) == "http://127.0.0.1:4711/" + _handle(self, approval)
        return approval

    async def is_busy(self, number: int) -> bool:
        """Return whether a page is refused because too many are open."""
        try:
            await self.open_page(number)
        except ToolError as refused:
            assert refused.code is Code.RATE_LIMITED
            return True
        return False

    async def audited(self) -> list[str | None]:
        await self.guard.audit.flush()
        return [row.code for row in await self.guard.audit.rows(ANY_USER, kind="reveal")]


def _handle(server: Server, approval: Approval) -> str:
    return server.reveals._pages[approval.id].address.rsplit("/", 1)[1]


def _outcome(found: Revealed) -> PageOutcome:
    return PageOutcome({}, ok=found.ok, code="ok")


@asynccontextmanager
async def server(folder: Path, policy: Policy = EMBEDDED) -> AsyncIterator[Server]:
    store = Store(folder)
    guard = build_guard(store, policy, ANY_USER)

    async def address() -> tuple[str, Secret]:
        return "http://127.0.0.1:9/partner/v1", Secret("key-under-test")

    reveals = CardReveals(read_settings({"MACHINES_STATE_DIR": str(folder)}), guard, address)
    try:
        yield Server(guard, reveals)
    finally:
        await reveals.close()
        await store.close()


@pytest.fixture
def vaults(monkeypatch: pytest.MonkeyPatch) -> Vaults:
    vaults = Vaults()
    monkeypatch.setattr(page_client, "show_card", vaults.show_card)
    monkeypatch.setattr(card_reveals, "PAGE_WAIT_SECONDS", 0.05)
    return vaults


async def _expire(one: Server, approval: Approval) -> None:
    change = "UPDATE approvals SET expires_at = created_at WHERE id = ?"
    await one.guard.store.run(lambda db: db.execute(change, (approval.id,)))


async def _refuse(one: Server, approval: Approval) -> None:
    await one.guard.channels.refuse(approval.id, "terminal")


async def _approve_on_another_page(one: Server, approval: Approval) -> None:
    assert await one.guard.channels.grant_and_consume(approval.id, "page") == "granted"


Happens = Callable[[Server, Approval], Awaitable[None]]
ENDS: list[tuple[Happens, str]] = [
    (_expire, "page.expired"),
    (_refuse, "page.refused_elsewhere"),
    (_approve_on_another_page, "page.used"),
]
each_end = pytest.mark.parametrize(("happens", "code"), ENDS, ids=[code for _, code in ENDS])


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_vault_may_copy_only_if_the_policy_allows_it(tmp_path: Path, vaults: Vaults, *, allowed: bool) -> None:
    async with server(tmp_path, replace(EMBEDDED, reveal_copy=allowed)) as one:
        await one.open_page(1)
    (request,) = vaults.requests
    assert request.page is not None
    assert request.page.may_copy is allowed


@each_end
async def test_pages_that_can_show_no_card_make_room_at_once(
    tmp_path: Path, vaults: Vaults, happens: Happens, code: str
) -> None:
    async with server(tmp_path) as one:
        approvals = [await one.open_page(number) for number in range(MAX_PAGES)]
        assert await one.is_busy(9)
        for approval in approvals:
            await happens(one, approval)
        for number in range(MAX_PAGES):
            await one.open_page(10 + number)
        assert vaults.open == MAX_PAGES
        assert await one.audited() == [code] * MAX_PAGES


@each_end
async def test_pages_that_can_show_no_card_make_room_for_another_server(
    tmp_path: Path, vaults: Vaults, monkeypatch: pytest.MonkeyPatch, happens: Happens, code: str
) -> None:
    monkeypatch.setattr(reveal_page, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(reveal_page, "LINGER_SECONDS", 0.05)
    async with server(tmp_path) as one, server(tmp_path) as other:
        approval, *_ = [await one.open_page(number) for number in range(MAX_PAGES)]
        assert await other.is_busy(9)
        await happens(other, approval)

        async def has_room() -> bool:
            return not await other.is_busy(10)

        await eventually_async(has_room)
        await one.guard.audit.flush()
        assert code in await one.audited()


async def test_a_page_that_shows_its_card_keeps_its_slot(tmp_path: Path, vaults: Vaults) -> None:
    async with server(tmp_path) as one:
        approvals = [await one.open_page(number) for number in range(MAX_PAGES)]
        for callbacks, approval in zip(vaults.callbacks, approvals, strict=True):
            assert await callbacks.on_approved() is None
            await _expire(one, approval)
        assert await one.is_busy(9)
        assert vaults.open == MAX_PAGES


async def test_a_page_that_does_not_end_delays_the_next_one_only_briefly(
    tmp_path: Path, vaults: Vaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_reveals, "END_SECONDS", 0.05)
    async with server(tmp_path) as one:
        for number in range(MAX_PAGES):
            await _expire(one, await one.open_page(number))
        vaults.stuck = True
        try:
            with anyio.fail_after(PATIENCE):
                assert await one.is_busy(9)
        finally:
            vaults.released.set()
        await eventually(lambda: vaults.open < MAX_PAGES)
        assert not await one.is_busy(10)


async def test_a_page_that_ended_while_its_request_waits_is_replaced(tmp_path: Path, vaults: Vaults) -> None:
    async with server(tmp_path) as one:
        approval = await one.open_page(0)
        await one.guard.freezes.freeze("terminal")
        assert await vaults.callbacks[0].on_approved() == "page.frozen"
        # Its vault still answers that changes are frozen.
        await vaults.callbacks[0].on_reply(failed("page.frozen"))
        await one.guard.freezes.lift("terminal", None)
        assert await one.open_page(0) == approval
        assert (vaults.open, len(vaults.callbacks)) == (1, 2)
        assert await vaults.callbacks[1].on_approved() is None
