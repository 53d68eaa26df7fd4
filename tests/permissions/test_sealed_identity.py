"""Masked identity data: sealed beside the waiting approval, shown by every process, erased with the decision."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest, Detail
from machines_mcp.permissions.approvals import OPEN_SECONDS
from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.policy import default_policy
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio

NAME = "Zanzibar Quellenfeld"
IDENTITY = (Detail("Name", NAME), Detail("Born in", "1986"), Detail("Country", "US"))
DETAILS = ApprovalDetails("Send the identity data?", items=(Detail("User", "user-1"),), identity=IDENTITY)


def request(digest: str = "d") -> CallRequest:
    return CallRequest("submit_kyc", ActionClass.IDENTITY, "user-1", digest)


def bytes_in(folder: Path) -> bytes:
    """Return every byte of the database, its log included."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob("state.db*")))


async def reloaded(guard: Guard, approval: Approval) -> Approval:
    found = await guard.approvals.get(approval.id)
    assert found is not None
    return found


async def test_another_process_shows_what_was_sealed(guard: Guard, store: Store, clock: Clock) -> None:
    approval = await guard.approvals.open(request(), DETAILS)
    assert (approval.details.items, approval.details.identity) == (DETAILS.items, ())
    other_store = Store(store.folder)
    other = build_guard(other_store, guard.policy, guard.principal, clock=clock)
    try:
        (waiting,) = await other.channels.waiting()
        assert other.approvals.identity.details(waiting) == IDENTITY
        assert NAME not in str(waiting.details) + waiting.dialog() + waiting.question
    finally:
        await other_store.close()


async def test_the_database_has_it_encrypted_only(guard: Guard, store: Store) -> None:
    approval = await guard.approvals.open(request(), DETAILS)
    assert approval.sealed is not None
    assert approval.sealed in bytes_in(store.folder)
    assert NAME.encode() not in bytes_in(store.folder)
    assert NAME not in repr(approval)


async def grant(guard: Guard, approval: Approval) -> None:
    assert await guard.approvals.grant(approval.id, "desk")


async def refuse(guard: Guard, approval: Approval) -> None:
    assert await guard.approvals.refuse(approval.id, "desk")


async def grant_and_consume(guard: Guard, approval: Approval) -> None:
    assert await guard.approvals.grant_and_consume(approval, "desk")


async def expire(guard: Guard, approval: Approval) -> None:
    clock = guard.approvals.identity._clock
    assert isinstance(clock, Clock)
    clock.advance(OPEN_SECONDS)
    await guard.store.run(guard.approvals.identity.erase_expired)


async def be_replaced(guard: Guard, approval: Approval) -> None:
    clock = guard.approvals.identity._clock
    assert isinstance(clock, Clock)
    clock.advance(OPEN_SECONDS)
    await guard.approvals.open(request("another"), replace(DETAILS, identity=()))


@pytest.mark.parametrize("end", [grant, refuse, grant_and_consume, expire, be_replaced])
async def test_the_decision_or_the_expiry_erases_it_to_the_last_byte(
    guard: Guard, store: Store, end: Callable[[Guard, Approval], Awaitable[None]]
) -> None:
    # Long enough for pages of its own, which SQLite keeps as they are unless told otherwise.
    approval = await guard.approvals.open(request(), replace(DETAILS, identity=(Detail("Name", NAME * 400),)))
    assert approval.sealed is not None
    await end(guard, approval)
    found = await reloaded(guard, approval)
    assert found.sealed is None
    assert guard.approvals.identity.details(found) == ()
    left = bytes_in(store.folder)
    assert not any(approval.sealed[at : at + 16] in left for at in range(0, len(approval.sealed) - 16, 16))


async def test_a_decision_that_fails_erases_nothing(guard: Guard) -> None:
    approval = await guard.approvals.open(request(), DETAILS)
    assert not await guard.approvals.grant("0" * 32, "desk")
    assert guard.approvals.identity.details(await reloaded(guard, approval)) == IDENTITY


async def test_expired_data_is_not_shown_even_before_it_is_erased(guard: Guard, clock: Clock) -> None:
    approval = await guard.approvals.open(request(), DETAILS)
    clock.advance(OPEN_SECONDS)
    assert guard.approvals.identity.details(await reloaded(guard, approval)) == ()


async def test_the_next_process_erases_what_an_ended_one_left(guard: Guard, store: Store, clock: Clock) -> None:
    approval = await guard.approvals.open(request(), DETAILS)
    clock.advance(OPEN_SECONDS)
    await build_guard(store, guard.policy, guard.principal, clock=clock).approvals.identity.erase_leftovers()
    assert (await reloaded(guard, approval)).sealed is None


async def test_data_of_one_approval_can_not_be_shown_with_another(guard: Guard) -> None:
    first = await guard.approvals.open(request("one"), DETAILS)
    second = await guard.approvals.open(request("two"), DETAILS)
    (shown,) = guard.approvals.identity.details(replace(second, sealed=first.sealed))
    assert "can't be shown" in shown.value


async def test_nothing_is_sealed_if_nobody_is_asked(store: Store, clock: Clock) -> None:
    guard = build_guard(store, default_policy("embedded", read_only=False), ANY_USER, clock=clock)
    approval = await guard.approvals.open_granted(request(), DETAILS, "operator")
    assert approval.sealed is None
    assert not (store.folder / "keys" / "approver-identity.key").exists()


async def test_an_equal_call_finds_the_approval_that_waits(guard: Guard) -> None:
    first = await guard.approvals.open(request(), DETAILS)
    assert (await guard.approvals.open(request(), DETAILS)).id == first.id
