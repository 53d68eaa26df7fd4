from __future__ import annotations

from dataclasses import replace

import pytest

from machines_mcp.permissions.action_class import Effect
from machines_mcp.permissions.approval import Intent
from machines_mcp.permissions.approval_details import Demand, Stakes
from machines_mcp.permissions.factory import Guard
from machines_mcp.storage.database import Store
from machines_mcp.storage.journal import Doing, Entry, doing
from tests.storage.test_journal import CARD, Card

pytestmark = pytest.mark.anyio


async def asked(guard: Guard, key: str, card: Card = CARD) -> tuple[Intent, str]:
    """An intent that is executing, and the entry of what was sent for it."""
    demand = Demand("create_card", Effect.MONEY, card.user_id or "", key)
    intent = await guard.intents.open_taken(demand, Stakes(question="?"), "operator")
    token = doing.set(Doing(intent.id, "create_card", card.user_id or ""))
    try:
        return intent, await guard.journal.begin(replace(card, idempotency_key=key))
    finally:
        doing.reset(token)


async def found(guard: Guard, intent: Intent) -> Entry:
    (entry,) = await guard.journal.of_intent(intent.id)
    return entry


@pytest.mark.parametrize(
    ("other", "made"),
    [
        (CARD, {"card-0001"}),
        (replace(CARD, user_id="user-2"), set()),
        # Who changed a card has not made it.
        (replace(CARD, operation="PATCH /cards/{cardId}", ids={"cardId": "card-0001"}), set()),
    ],
)
async def test_what_another_request_made_is_its_own(guard: Guard, other: Card, made: set[str]) -> None:
    own, own_id = await asked(guard, "own")
    _, entry_id = await asked(guard, "other", other)
    await guard.journal.end(entry_id, "done", reference="card-0001", status=200)
    await guard.journal.end(own_id, "done", reference="card-0002", status=200)
    assert (await guard.journal.rivals(await found(guard, own))).made == made


@pytest.mark.parametrize("closed", [True, False])
async def test_what_only_an_outcome_names_is_made_by_that_call(guard: Guard, closed: bool) -> None:
    own, _ = await asked(guard, "own")
    other, entry_id = await asked(guard, "other")
    await guard.intents.finish(other.id, '{"card_id": "card-0001"}', ok=True, code="ok")
    if closed:
        await guard.journal.settle(entry_id, "done")
    rivals = await guard.journal.rivals(await found(guard, own))
    assert rivals.made == {"card-0001"}
    assert not rivals.open


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
async def test_who_is_in_doubt_as_well_is_told_from_who_may_still_hear(
    guard: Guard, what: str, is_open: bool, at_work: bool
) -> None:
    own, _ = await asked(guard, "own")
    other, entry_id = await asked(guard, "other")
    if what == "abandoned":
        await guard.gate.abandon(other)
    elif what == "ended":
        await guard.intents.finish(other.id, "{}", ok=False, code="partner.rejected")
    elif what == "manual":
        await guard.journal.settle(entry_id, "manual")
    elif what != "pending":
        await guard.journal.end(entry_id, what)  # type: ignore[arg-type]
    rivals = await guard.journal.rivals(await found(guard, own))
    assert [entry.id for entry in rivals.open] == ([entry_id] if is_open else [])
    assert rivals.at_work == ({entry_id} if at_work else set())


async def test_only_what_was_asked_of_a_thing_since_is_a_change(guard: Guard, store: Store) -> None:
    change = replace(CARD, operation="PATCH /cards/{cardId}", ids={"cardId": "card-0001"})
    await asked(guard, "before", change)
    own, _ = await asked(guard, "own")
    _, unsent = await asked(guard, "unsent", change)
    await guard.journal.end(unsent, "unsent")
    _, since = await asked(guard, "since", change)
    await asked(guard, "another's", replace(change, user_id="user-2"))
    rivals = await guard.journal.rivals(await found(guard, own))
    assert [entry.id for entry in rivals.changes] == [since]
