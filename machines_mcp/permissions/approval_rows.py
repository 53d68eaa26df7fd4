"""The rows of approvals in the database: queries, and each change of state.

    waiting -> granted <-> executing -> done | failed
            -> refused

Functions that take `db` run inside the caller's transaction.
"""

from __future__ import annotations

import secrets
from dataclasses import fields
from typing import TYPE_CHECKING, Literal

from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest, Channel

if TYPE_CHECKING:
    import sqlite3

_COLUMNS = tuple(field.name for field in fields(Approval))


def waiting_approvals(db: sqlite3.Connection, now: float) -> list[Approval]:
    """Return the approvals that a person can still decide, oldest first."""
    rows = db.execute("SELECT * FROM approvals WHERE state = 'waiting' AND expires_at > ? ORDER BY created_at", (now,))
    return [_from_row(row) for row in rows]


def executing_approvals(db: sqlite3.Connection) -> list[Approval]:
    """Return the approvals that were started and have no outcome, oldest first."""
    return [
        _from_row(row) for row in db.execute("SELECT * FROM approvals WHERE state = 'executing' ORDER BY started_at")
    ]


def newest_approvals(db: sqlite3.Connection, limit: int) -> list[Approval]:
    """Return at most `limit` approvals in any state, newest first."""
    rows = db.execute("SELECT * FROM approvals ORDER BY created_at DESC, id LIMIT ?", (limit,))
    return [_from_row(row) for row in rows]


def find(db: sqlite3.Connection, approval_id: str) -> Approval | None:
    """Return the approval with this id, or None."""
    row = db.execute("SELECT * FROM approvals WHERE id = ?", (approval_id,)).fetchone()
    return None if row is None else _from_row(row)


def waiting_duplicate(
    db: sqlite3.Connection, call_request: CallRequest, details: ApprovalDetails, policy: str, now: float
) -> Approval | None:
    """Return an approval that already waits for an equal call, with equal details and policy, or None."""
    rows = db.execute(
        "SELECT * FROM approvals WHERE state = 'waiting' AND expires_at > ? AND tool = ? AND user_id = ?"
        " AND digest = ? AND policy = ?",
        (now, call_request.tool, call_request.user_id, call_request.digest, policy),
    )
    # Compared as values: a migration may have spelled the stored JSON differently.
    return next((found for found in map(_from_row, rows) if found.details == details), None)


def insert(
    db: sqlite3.Connection,
    call_request: CallRequest,
    details: ApprovalDetails,
    policy: str,
    now: float,
    expires_at: float,
) -> Approval:
    """Insert a waiting approval under a new random 128-bit id."""
    approval = Approval(
        id=secrets.token_hex(16),
        tool=call_request.tool,
        action_class=call_request.action_class.value,
        user_id=call_request.user_id,
        digest=call_request.digest,
        question=details.question,
        state="waiting",
        created_at=now,
        expires_at=expires_at,
        decided_by=None,
        outcome=None,
        asked_by=call_request.asked_by,
        policy=policy,
        details=details,
        amount_cents=details.amount_cents,
        card_id=details.card_id,
        decided_at=None,
    )
    values = {name: getattr(approval, name) for name in _COLUMNS} | {"details": details.as_json()}
    names, places = ", ".join(values), ", ".join("?" * len(values))
    db.execute(f"INSERT INTO approvals ({names}) VALUES ({places})", tuple(values.values()))  # noqa: S608 - our names
    return approval


def set_granted(db: sqlite3.Connection, approval_id: str, by: Channel, now: float, expires_at: float) -> bool:
    """Change a waiting approval to granted until `expires_at`. Returns False if it no longer waits."""
    return _updated_one(
        db,
        "UPDATE approvals SET state = 'granted', decided_by = ?, decided_at = ?, expires_at = ?"
        " WHERE id = ? AND state = 'waiting' AND expires_at > ?",
        (by, now, expires_at, approval_id, now),
    )


def set_refused(db: sqlite3.Connection, approval_id: str, by: Channel, now: float) -> bool:
    """Change a waiting approval to refused. Returns False if it no longer waits."""
    change = "UPDATE approvals SET state = 'refused', decided_by = ?, decided_at = ? WHERE id = ? AND state = 'waiting'"
    return _updated_one(db, change, (by, now, approval_id))


def set_executing(db: sqlite3.Connection, approval: Approval, policy: str, owner: str, now: float) -> bool:
    """Change a valid grant of this call to executing. A single UPDATE decides, so one concurrent caller gets True."""
    return _updated_one(
        db,
        "UPDATE approvals SET state = 'executing', started_at = ?, owner = ?"
        " WHERE id = ? AND state = 'granted' AND expires_at > ? AND digest = ? AND user_id = ? AND policy = ?",
        (now, owner, approval.id, now, approval.digest, approval.user_id, policy),
    )


def set_owner(db: sqlite3.Connection, approval_id: str, owner: str, before: str) -> bool:
    """Change the owner of an executing approval. Returns False if the owner is not `before`."""
    change = "UPDATE approvals SET owner = ? WHERE id = ? AND state = 'executing' AND owner = ?"
    return _updated_one(db, change, (owner, approval_id, before))


def undo_executing(db: sqlite3.Connection, approval_id: str) -> bool:
    """Change an executing approval back to granted. Returns False if it is not executing."""
    undo = "UPDATE approvals SET state = 'granted' WHERE id = ? AND state = 'executing'"
    return _updated_one(db, undo, (approval_id,))


def undo_decision(db: sqlite3.Connection, approval_id: str) -> bool:
    """Change an executing approval back to waiting. Returns False if it is not executing."""
    undo = (
        "UPDATE approvals SET state = 'waiting', decided_by = NULL, decided_at = NULL, started_at = NULL"
        " WHERE id = ? AND state = 'executing'"
    )
    return _updated_one(db, undo, (approval_id,))


def set_outcome(db: sqlite3.Connection, approval_id: str, state: Literal["done", "failed"], outcome: str) -> bool:
    """Store the outcome of an executing approval. Returns False if it is not executing."""
    end = "UPDATE approvals SET state = ?, outcome = ? WHERE id = ? AND state = 'executing'"
    return _updated_one(db, end, (state, outcome, approval_id))


def _updated_one(db: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> bool:
    """Run the statement and return whether it changed exactly one row."""
    return db.execute(statement, values).rowcount == 1


def _from_row(row: sqlite3.Row) -> Approval:
    values = dict(row)
    return Approval(**values | {"details": ApprovalDetails.from_json(values["details"])})
