from __future__ import annotations

from dataclasses import replace

import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.permissions.factory import Guard
from machines_mcp.storage.database import Store
from machines_mcp.storage.journal import CallContext, JournalEntry
from tests.storage.test_journal import CARD, CardMutation
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio


async def executing_request(guard: Guard, key: str, card: CardMutation = CARD) -> tuple[Approval, str]:
    """Return an executing approval and the id of its journal entry."""
    call_request = CallRequest("create_card", ActionClass.MONEY, card.user_id or "", key)
    approval = await guard.approvals.open_granted(call_request, ApprovalDetails(question="?"), "operator")
    about = CallContext(approval.id, "create_card", card.user_id or "")
    return approval, await guard.journal.begin(replace(card, idempotency_key=key), about)


async def entry_of(guard: Guard, approval: Approval) -> JournalEntry:
    (entry,) = await guard.journal.for_approval(approval.id)
    return entry


@pytest.mark.parametrize(
    ("other", "made"),
    [
        (CARD, {"card-0001"}),
        (replace(CARD, user_id="user-2"), set()),
        # A request that changed a card did not create it.
        (replace(CARD, operation="PATCH /cards/{cardId}", ids={"cardId": "card-0001"}), set()),
    ],
)
async def test_card_created_by_another_request_belongs_to_it(guard: Guard, other: CardMutation, made: set[str]) -> None:
    own, own_id = await executing_request(guard, "own")
    _, entry_id = await executing_request(guard, "other", other)
    await guard.journal.end(entry_id, "done", reference="card-0001", status=200)
    await guard.journal.end(own_id, "done", reference="card-0002", status=200)
    assert (await guard.journal.concurrent_requests(await entry_of(guard, own))).created == made


@pytest.mark.parametrize("closed", [True, False])
async def test_card_named_only_by_an_outcome_belongs_to_that_call(guard: Guard, closed: bool) -> None:
    own, _ = await executing_request(guard, "own")
    other, entry_id = await executing_request(guard, "other")
    await guard.approvals.finish(other.id, '{"card_id": "card-0001"}', ok=True, code="ok")
    if closed:
        await guard.journal.close(entry_id, "done")
    others = await guard.journal.concurrent_requests(await entry_of(guard, own))
    assert others.created == {"card-0001"}
    assert not others.unresolved


@pytest.mark.parametrize(
    ("what", "is_open", "at_work"),
    [
        ("pending", True, True),
        ("abandoned", True, False),
        ("unknown", True, False),
        ("manual", True, False),
        ("done", False, False),
        ("rejected", False, False),
        ("ended", False, False),
    ],
)
async def test_unresolved_requests_are_distinguished_from_those_in_flight(
    guard: Guard, what: str, is_open: bool, at_work: bool
) -> None:
    own, _ = await executing_request(guard, "own")
    other, entry_id = await executing_request(guard, "other")
    if what == "abandoned":
        await guard.authorizer.release(other)
    elif what == "ended":
        await guard.approvals.finish(other.id, "{}", ok=False, code="partner.rejected")
    elif what == "manual":
        await guard.journal.close(entry_id, "manual")
    elif what != "pending":
        await guard.journal.end(entry_id, what)  # type: ignore[arg-type]
    others = await guard.journal.concurrent_requests(await entry_of(guard, own))
    assert [entry.id for entry in others.unresolved] == ([entry_id] if is_open else [])
    assert others.in_flight == ({entry_id} if at_work else set())


async def test_only_later_requests_for_a_card_count_as_changes(guard: Guard, store: Store) -> None:
    change = replace(CARD, operation="PATCH /cards/{cardId}", ids={"cardId": "card-0001"})
    await executing_request(guard, "before", change)
    own, _ = await executing_request(guard, "own")
    _, unsent = await executing_request(guard, "unsent", change)
    await guard.journal.end(unsent, "unsent")
    _, since = await executing_request(guard, "since", change)
    await executing_request(guard, "another's", replace(change, user_id="user-2"))
    others = await guard.journal.concurrent_requests(await entry_of(guard, own))
    assert [entry.id for entry in others.later_changes] == [since]


async def test_changes_of_the_same_card_count_if_they_may_be_newer_than_what_was_seen(
    guard: Guard, store: Store, clock: Clock
) -> None:
    change = replace(CARD, operation="PATCH /cards/{cardId}", ids={"cardId": "card-0001"})
    kinds = ("over", "beside", "lost", "under way", "unsent")
    names = {(await executing_request(guard, kind, change))[1]: kind for kind in kinds}
    ids = {kind: entry_id for entry_id, kind in names.items()}
    await guard.journal.end(ids["over"], "done", status=200)
    clock.advance(10)
    seen = clock.now
    await guard.journal.end(ids["beside"], "done", status=200)
    await guard.journal.end(ids["lost"], "unknown")
    await guard.journal.end(ids["unsent"], "unsent")
    own, _ = await executing_request(guard, "own", change)
    clock.advance(-60)
    names[(await executing_request(guard, "later, with the clock set back", change))[1]] = "later"
    for other in (replace(change, user_id="user-2"), replace(change, ids={"cardId": "card-0002"}), CARD):
        await executing_request(guard, str(other), other)
    found = await guard.journal.concurrent_changes(await entry_of(guard, own), seen)
    assert {names[entry.id] for entry in found} == {"beside", "lost", "under way", "later"}
