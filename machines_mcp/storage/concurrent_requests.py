"""Find other requests that could have created or changed the resource whose response was lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from machines_mcp.storage.journal_entry import OPEN, JournalEntry, selected
from machines_mcp.storage.process_locks import UNOWNED

if TYPE_CHECKING:
    import sqlite3


@dataclass(frozen=True, slots=True)
class ConcurrentRequests:
    """The same user's other requests, relative to one journal entry.

    `created`: ids of resources that the same operation created. `unresolved`: requests of the same operation whose
    result is still unknown; `in_flight`: the ids of those that may still receive a response. `later_changes`: later
    requests on existing resources.
    """

    created: frozenset[str]
    unresolved: tuple[JournalEntry, ...]
    in_flight: frozenset[str]
    later_changes: tuple[JournalEntry, ...]


def concurrent_requests(
    db: sqlite3.Connection, entry: JournalEntry, under_way: Callable[[JournalEntry], bool]
) -> ConcurrentRequests:
    """Return all of them at one moment. List the existing resources first: no later request can have created them."""
    executing = db.execute("SELECT id, owner FROM approvals WHERE state = 'executing'")
    owners = {row["id"]: row["owner"] for row in executing}
    same = (entry.operation, entry.user_id, entry.id)
    where = f"operation = ? AND user_id = ? AND id <> ? AND {OPEN}"
    found = [one for one in selected(db, where, *same) if one.approval_id is None or one.approval_id in owners]
    in_flight = {one.id for one in found if owners.get(one.approval_id) != UNOWNED and _pending(one, under_way)}
    since = "user_id = ? AND ids <> '{}' AND rowid > (SELECT rowid FROM mutations WHERE id = ?)"
    changes = [one for one in selected(db, since, entry.user_id, entry.id) if one.may_have_happened]
    return ConcurrentRequests(_made(db, *same), tuple(found), frozenset(in_flight), tuple(changes))


def same_request_before(db: sqlite3.Connection, entry_id: str, user_id: str, seconds: float) -> JournalEntry | None:
    """Return the newest equal request of the user that created something in the `seconds` before this one."""
    where = (
        "id = (SELECT found.id FROM mutations AS own JOIN mutations AS found USING (user_id, operation, body_hash)"
        " WHERE own.id = ? AND user_id = ? AND found.rowid < own.rowid AND found.created_at >= own.created_at - ?"
        " AND found.state = 'done' AND found.reference IS NOT NULL ORDER BY found.rowid DESC LIMIT 1)"
    )
    return next(iter(selected(db, where, entry_id, user_id, seconds)), None)


def concurrent_changes(db: sqlite3.Connection, entry: JournalEntry, since: float) -> list[JournalEntry]:
    """Return the user's other changes of the same resource that may have taken effect after `since` (epoch seconds)."""
    same = "user_id = ? AND id <> ? AND ids = (SELECT ids FROM mutations WHERE id = ?)"
    later = "(rowid > (SELECT rowid FROM mutations WHERE id = ?) OR ended_at IS NULL OR ended_at >= ?)"
    found = selected(db, f"{same} AND {later}", entry.user_id, entry.id, entry.id, entry.id, since)
    return [one for one in found if one.may_have_happened]


def _made(db: sqlite3.Connection, operation: str, user_id: str, but: str) -> frozenset[str]:
    # If the journal could not be written, the outcome of the call names the created resource.
    query = """
        SELECT coalesce(reference, json_extract(outcome, '$.card_id'), json_extract(outcome, '$.deposit_id')) AS made
        FROM mutations LEFT JOIN approvals ON approvals.id = approval_id AND approvals.state = 'done'
        WHERE operation = ? AND mutations.user_id = ? AND mutations.id <> ?
        AND (mutations.state = 'done' OR approvals.state = 'done') AND made IS NOT NULL
    """
    return frozenset(row["made"] for row in db.execute(query, (operation, user_id, but)))


def _pending(entry: JournalEntry, under_way: Callable[[JournalEntry], bool]) -> bool:
    return entry.state == "pending" and under_way(entry)
