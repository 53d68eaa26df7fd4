from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import anyio
import pytest

from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.policy import default_policy
from machines_mcp.storage import failpoints
from machines_mcp.storage.database import Store, StoreUnavailable
from machines_mcp.storage.journal import CallContext, CallLog, Journal, JournalEntry, KeyReused, ReadOnly
from machines_mcp.storage.journal_entry import has_open_work
from machines_mcp.storage.principal import ANY_USER
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class CardMutation:
    """A mutation, as the partner client describes it."""

    user_id: str | None = "user-1"
    operation: str = "POST /cards"
    idempotency_key: str | None = "machines-1"
    body: bytes | None = b'{"limit":{"amountCents":500}}'
    keep_body: bool = True
    ids: dict[str, str] = field(default_factory=dict)


CARD = CardMutation()
OTHER_BODY = replace(CARD, body=b'{"limit":{"amountCents":501}}')


@pytest.fixture
def journal(guard: Guard) -> Journal:
    return guard.journal


@pytest.fixture
async def other_server(tmp_path: Path, clock: Clock) -> AsyncIterator[Guard]:
    """Return a journal of another server on the same folder."""
    other = Store(tmp_path / "state")
    found = build_guard(other, default_policy("embedded", read_only=False), ANY_USER, clock=clock)
    yield found
    found.locks.close()
    await other.close()


def in_call(approval_id: str | None) -> CallContext:
    """Return the context of a call for this approval."""
    return CallContext(approval_id, "create_card", "user-1")


async def single_entry(journal: Journal, approval_id: str = "approval-1") -> JournalEntry:
    (entry,) = await journal.for_approval(approval_id)
    return entry


async def test_begun_entry_is_on_disk_with_everything_reconciliation_needs(
    journal: Journal, guard: Guard, clock: Clock, tmp_path: Path
) -> None:
    call = in_call("approval-1")
    entry_id = await journal.begin(CARD, call)
    assert call.begun == [entry_id]
    entry = await single_entry(journal)
    assert entry == JournalEntry(
        id=entry_id,
        approval_id="approval-1",
        tool="create_card",
        user_id="user-1",
        operation="POST /cards",
        idempotency_key="machines-1",
        body_hash=entry.body_hash,
        body='{"limit":{"amountCents":500}}',
        ids={},
        attempts=1,
        state="pending",
        reference=None,
        status=None,
        owner=guard.locks.own(),
        created_at=clock.now,
        sent_at=clock.now,
        last_sent_at=clock.now,
        ended_at=None,
    )
    # Reading through another connection shows that it is committed.
    with closing(sqlite3.connect(tmp_path / "state" / "state.db")) as db:
        assert db.execute("SELECT state FROM mutations").fetchall() == [("pending",)]


async def test_entry_ends_with_the_known_outcome(journal: Journal, clock: Clock) -> None:
    call = in_call("approval-1")
    entry_id = await journal.begin(CARD, call)
    clock.advance(2)
    await journal.end(entry_id, "done", reference="card-0001", status=200)
    entry = await single_entry(journal)
    assert (entry.state, entry.reference, entry.status, entry.ended_at) == ("done", "card-0001", 200, clock.now)
    # An ended entry does not end again.
    await journal.end(entry_id, "unknown", status=500)
    assert await single_entry(journal) == entry


async def test_body_that_may_contain_identity_data_is_not_stored(journal: Journal, tmp_path: Path) -> None:
    canary = b"identity-canary-2718281828"
    call = in_call("approval-1")
    await journal.begin(replace(CARD, body=canary, keep_body=False, operation="POST /kyc/applications"), call)
    entry = await single_entry(journal)
    assert entry.body is None
    assert len(entry.body_hash) == 64
    for path in (tmp_path / "state").rglob("*"):
        assert path.is_dir() or canary not in path.read_bytes()


async def test_hash_is_keyed_and_distinguishes_bodies(journal: Journal, tmp_path: Path, clock: Clock) -> None:
    same = [replace(CARD, idempotency_key=None)] * 2
    others = [
        replace(same[0], body=OTHER_BODY.body),
        replace(same[0], body=None),
        replace(same[0], user_id="user-2"),
        replace(same[0], operation="PATCH /cards/{cardId}"),
        replace(same[0], ids={"cardId": "card-0001"}),
    ]
    call = in_call("approval-1")
    for mutation in (*same, *others):
        await journal.begin(mutation, call)
    hashes = [entry.body_hash for entry in await journal.for_approval("approval-1")]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 1 + len(others)
    strange = Store(tmp_path / "strange")
    try:
        other = build_guard(strange, default_policy("embedded", read_only=False), ANY_USER, clock=clock)
        call = in_call("approval-1")
        await other.journal.begin(same[0], call)
        assert (await single_entry(other.journal)).body_hash != hashes[0]
        other.locks.close()
    finally:
        await strange.close()


async def test_same_key_and_body_is_another_attempt(journal: Journal, clock: Clock) -> None:
    begun = clock.now
    call = in_call("approval-1")
    first = await journal.begin(CARD, call)
    await journal.end(first, "unknown")
    clock.advance(30)
    assert await journal.begin(CARD, call) == first
    entry = await single_entry(journal)
    assert (entry.attempts, entry.state, entry.ended_at) == (2, "pending", None)
    assert (entry.created_at, entry.sent_at, entry.last_sent_at) == (begun, begun, begun + 30)


@pytest.mark.parametrize("outcome", ["done", "unknown"])
async def test_other_body_under_a_key_with_a_possible_effect_is_rejected(
    journal: Journal, outcome: str, store: Store
) -> None:
    call = in_call("approval-1")
    first = await journal.begin(CARD, call)
    await journal.end(first, outcome)  # type: ignore[arg-type]
    with pytest.raises(KeyReused):
        await journal.begin(OTHER_BODY, call)
    entry = await single_entry(journal)
    assert (entry.attempts, entry.state, entry.body) == (1, outcome, (CARD.body or b"").decode())


@pytest.mark.parametrize(("outcome", "first"), [("unsent", False), ("rejected", True)])
async def test_other_body_may_follow_a_request_without_effect(
    journal: Journal, clock: Clock, outcome: str, first: bool
) -> None:
    # Each attempt encrypts its label again.
    begun = clock.now
    call = in_call("approval-1")
    entry_id = await journal.begin(CARD, call)
    await journal.end(entry_id, outcome)  # type: ignore[arg-type]
    clock.advance(60)
    assert await journal.begin(OTHER_BODY, call) == entry_id
    entry = await single_entry(journal)
    assert (entry.attempts, entry.state, entry.body) == (2, "pending", (OTHER_BODY.body or b"").decode())
    # An unsent request can't have arrived before now.
    assert entry.sent_at == (begun if first else clock.now)


async def test_each_request_without_a_key_has_its_own_entry(journal: Journal) -> None:
    call = in_call("approval-1")
    for _ in range(2):
        await journal.begin(replace(CARD, idempotency_key=None), call)
    assert len(await journal.for_approval("approval-1")) == 2


async def test_mutation_is_rejected_if_it_can_not_be_recorded(journal: Journal, store: Store) -> None:
    await store.run(lambda db: db.execute("PRAGMA query_only = ON"))
    call = in_call("approval-1")
    with pytest.raises(StoreUnavailable):
        await journal.begin(CARD, call)
    assert call.begun == []
    await store.read(lambda db: db.execute("PRAGMA query_only = OFF"))
    assert await journal.for_approval("approval-1") == []


async def test_failed_recording_of_the_end_does_not_hide_the_response(
    journal: Journal, store: Store, other_server: Guard, guard: Guard
) -> None:
    call = in_call(None)
    entry_id = await journal.begin(CARD, call)
    assert await journal.unresolved() == []
    await store.run(lambda db: db.execute("PRAGMA query_only = ON"))
    await journal.end(entry_id, "done", reference="card-0001")
    await store.read(lambda db: db.execute("PRAGMA query_only = OFF"))
    # This process knows at once that no one is executing it; others know when this process is gone.
    assert [entry.id for entry in await journal.unresolved()] == [entry_id]
    assert await other_server.journal.unresolved() == []
    guard.locks.close()
    assert [entry.id for entry in await other_server.journal.unresolved()] == [entry_id]


async def test_unresolved_entries_are_those_no_process_is_executing(
    journal: Journal, guard: Guard, other_server: Guard
) -> None:
    ids = {}
    for outcome in ("done", "rejected", "unsent", "unknown"):
        ids[outcome] = await journal.begin(replace(CARD, idempotency_key=outcome))
        await journal.end(ids[outcome], outcome)
    ids["pending"] = await journal.begin(replace(CARD, idempotency_key="pending"))
    ids["manual"] = await journal.begin(replace(CARD, idempotency_key="manual"))
    await journal.close(ids["manual"], "manual", note="Look there.")

    async def names(of: Journal) -> list[str]:
        return [str(entry.idempotency_key) for entry in await of.unresolved()]

    assert await names(journal) == await names(other_server.journal) == ["unknown", "manual"]
    guard.locks.close()
    assert await names(other_server.journal) == ["unknown", "pending", "manual"]


@pytest.mark.parametrize("state", ["done", "rejected", "unknown"])
async def test_resolved_entry_stays_closed(journal: Journal, store: Store, state: str) -> None:
    call = in_call("approval-1")
    entry_id = await journal.begin(CARD, call)
    await journal.end(entry_id, "unknown")
    assert await store.read(lambda db: has_open_work(db, ANY_USER))
    await journal.close(entry_id, "manual", note="Look there.")
    manual = await single_entry(journal)
    assert (manual.state, manual.note, manual.settled_by) == ("manual", "Look there.", None)
    await journal.close(entry_id, state, "card-0001")  # type: ignore[arg-type]
    await journal.close(entry_id, "manual", note="Too late.")
    entry = await single_entry(journal)
    assert (entry.state, entry.reference, entry.note, entry.settled_by) == (state, "card-0001", None, "server")
    assert await journal.unresolved() == []
    assert not await store.read(lambda db: has_open_work(db, ANY_USER))


@pytest.mark.parametrize(
    ("outcome", "reference", "says", "becomes"),
    [
        ("unknown", None, "card-0001", ("done", "card-0001", "terminal")),
        ("unknown", None, None, ("rejected", None, "terminal")),
        # A response that names nothing says less than a person who looked.
        ("done", None, "hash-0001", ("done", "hash-0001", "terminal")),
        ("done", None, None, ("rejected", None, "terminal")),
        ("done", "card-0001", None, ("done", "card-0001", None)),
        ("rejected", None, "card-0001", ("rejected", None, None)),
    ],
)
async def test_persons_resolution_closes_an_unknown_entry(
    journal: Journal,
    store: Store,
    outcome: Literal["done", "rejected", "unknown"],
    reference: str | None,
    says: str | None,
    becomes: tuple[str | None, ...],
) -> None:
    call = in_call("approval-1")
    entry_id = await journal.begin(CARD, call)
    await journal.end(entry_id, outcome, reference=reference)
    await store.run(lambda db: journal.resolve_in(db, entry_id, says, "terminal"))
    entry = await single_entry(journal)
    assert (entry.state, entry.reference, entry.settled_by) == becomes


async def test_clock_changes_do_not_shorten_the_wait_for_a_sent_request(
    journal: Journal, other_server: Guard, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(anyio, "current_time", lambda: now)
    call = in_call("approval-1")
    entry_id = await journal.begin(CARD, call)
    now = 2.0
    journal.sent(entry_id)
    now = 5.0
    await journal.end(entry_id, "unknown")
    entry = await single_entry(journal)
    clock.advance(3600)
    # Another process counts from the moment it first sees the entry.
    assert (journal.elapsed(entry), other_server.journal.elapsed(entry)) == (3.0, 0.0)
    now = 9.0
    assert (journal.elapsed(entry), other_server.journal.elapsed(entry)) == (7.0, 4.0)
    await other_server.journal.begin(CARD, call)
    now = 10.0
    again = await single_entry(journal)
    assert (journal.elapsed(again), other_server.journal.elapsed(again)) == (0.0, 1.0)


async def test_entry_outside_a_call_has_no_approval(journal: Journal) -> None:
    await journal.begin(replace(CARD, user_id=None))
    call = in_call(None)
    await journal.begin(replace(CARD, user_id=None, idempotency_key=None), call)
    assert await journal.for_approval("approval-1") == []


async def test_failpoints_are_passed_in_order(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[str] = []
    told: Callable[[str], None] = passed.append
    monkeypatch.setattr(failpoints, "hook", told)
    entry_id = await journal.begin(CARD)
    journal.sent(entry_id)
    await journal.end(entry_id, "done")
    assert passed == ["journal.begun", "request.sent", "request.answered", "journal.ended"]


async def test_entry_is_synced_to_disk_before_sending(store: Store, journal: Journal) -> None:
    # 2 is FULL: each commit waits for the disk. A power cut can't be tested here.
    await journal.begin(CARD)
    assert await store.read(lambda db: int(db.execute("PRAGMA synchronous").fetchone()[0])) == 2


async def test_a_calls_log_records_its_mutations_as_sent_by_it(journal: Journal) -> None:
    call = in_call("approval-1")
    log = CallLog(journal, call)
    entry_id = await log.begin(CARD)
    log.sent(entry_id)
    await log.end(entry_id, "done", reference="card-0001", status=200)
    entry = await single_entry(journal)
    assert (entry.id, entry.tool, entry.state, entry.reference) == (entry_id, "create_card", "done", "card-0001")
    assert call.begun == [entry_id]


async def test_read_only_call_sends_no_mutation(journal: Journal) -> None:
    call = CallContext("approval-1", "create_card", "user-1", read_only=True)
    with pytest.raises(ReadOnly):
        await CallLog(journal, call).begin(CARD)
    assert (await journal.for_approval("approval-1"), call.begun) == ([], [])


async def test_concurrent_calls_do_not_share_their_context(journal: Journal) -> None:
    calls = [in_call(f"approval-{number}") for number in range(5)]

    async def send(call: CallContext) -> None:
        await CallLog(journal, call).begin(replace(CARD, idempotency_key=f"key-{call.approval_id}"))

    async with anyio.create_task_group() as tasks:
        for call in calls:
            tasks.start_soon(send, call)
    for call in calls:
        assert [entry.id for entry in await journal.for_approval(str(call.approval_id))] == call.begun
