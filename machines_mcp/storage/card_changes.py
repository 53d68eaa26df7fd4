"""What the journal knows of cards: the labels and locks that calls sent."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING

from machines_mcp.storage.journal_entry import JournalEntry, selected
from machines_mcp.storage.principal import Principal

if TYPE_CHECKING:
    import sqlite3

# As the index `mutations_by_label` has them.
_NAME = "CASE WHEN json_valid(body) THEN json_extract(body, '$.encryptedName.ct') END"
_LABELLED = "operation IN ('POST /cards', 'PATCH /cards/{cardId}')"


class AlreadyUndone(Exception):
    """Another approval undoes this lock, or has done so."""


def labels_sent(db: sqlite3.Connection, user_id: str, ciphertexts: Collection[str]) -> frozenset[str]:
    """Return which of these encrypted labels a call sent for a card of the user, whatever became of it."""
    query = (
        f"SELECT {_NAME} FROM mutations WHERE {_LABELLED} AND user_id = ?"  # noqa: S608 - constants only
        f" AND {_NAME} IN (SELECT value FROM json_each(?))"
    )
    return frozenset(row[0] for row in db.execute(query, (user_id, json.dumps(sorted(ciphertexts)))))


def locks_since(db: sqlite3.Connection, principal: Principal, since: float) -> list[JournalEntry]:
    """Return the newest lock of each card that a call may have locked since then and none has unlocked, oldest first.

    A lock of a card that was locked already is somebody else's. One of a card that had another status than active is
    not listed, because unlocking it would not bring that status back.
    """
    locks: dict[tuple[str, str], JournalEntry] = {}
    for entry in selected(db, "operation = 'PATCH /cards/{cardId}' AND created_at > ?", since):
        if not principal.may_act_for(entry.user_id) or not entry.may_have_happened:
            continue
        card, status = (entry.user_id, entry.ids.get("cardId", "")), json.loads(entry.body or "{}").get("status")
        if status == "locked":
            if entry.before_status in (None, "active"):
                locks[card] = entry
            elif entry.before_status != "locked":
                locks.pop(card, None)
        elif status is not None and entry.state == "done":
            locks.pop(card, None)
    return sorted(locks.values(), key=lambda entry: entry.created_at)


def claim_undo(db: sqlite3.Connection, entry_id: str, approval_id: str) -> None:
    """Note that this approval undoes a lock, inside the caller's transaction. Only one that failed may be replaced.

    Raises:
        AlreadyUndone: Another one does, or has done so.
    """
    free = "undone_by IS NULL OR NOT EXISTS (SELECT 1 FROM approvals WHERE id = undone_by AND state <> 'failed')"
    claim = f"UPDATE mutations SET undone_by = ? WHERE id = ? AND ({free})"  # noqa: S608 - constants only
    if db.execute(claim, (approval_id, entry_id)).rowcount != 1:
        raise AlreadyUndone
