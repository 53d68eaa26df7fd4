"""The rows of approvals in the database: queries, and each change of state.

    waiting -> granted <-> executing -> done | failed
            -> refused (by a person, or by `withdrawn`)

Functions that take `db` run inside the caller's transaction. Those that take a `principal` return rows of its users.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Literal

from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest, Channel, Detail, Withdrawn
from machines_mcp.storage.principal import OF_PRINCIPAL, Principal

if TYPE_CHECKING:
    import sqlite3

_WAITING = "state = 'waiting' AND expires_at > :now"
_COLUMNS = tuple(field.name for field in fields(Approval))


def waiting_approvals(db: sqlite3.Connection, principal: Principal, now: float) -> list[Approval]:
    """Return the approvals that a person can still decide, oldest first."""
    query = f"SELECT * FROM approvals WHERE {_WAITING} AND {OF_PRINCIPAL} ORDER BY created_at"  # noqa: S608 - constants
    return [_from_row(row) for row in db.execute(query, principal.bound | {"now": now})]


def others_waiting(db: sqlite3.Connection, principal: Principal, now: float) -> int:
    """Return how many approvals wait for users for whom the principal does not act."""
    query = f"SELECT count(*) FROM approvals WHERE {_WAITING} AND NOT {OF_PRINCIPAL}"  # noqa: S608 - constants only
    return int(db.execute(query, principal.bound | {"now": now}).fetchone()[0])


def executing_approvals(db: sqlite3.Connection, principal: Principal) -> list[Approval]:
    """Return the approvals that were started and have no outcome, oldest first."""
    query = f"SELECT * FROM approvals WHERE state = 'executing' AND {OF_PRINCIPAL} ORDER BY started_at"  # noqa: S608
    return [_from_row(row) for row in db.execute(query, principal.bound)]


def newest_approvals(db: sqlite3.Connection, principal: Principal, limit: int) -> list[Approval]:
    """Return at most `limit` approvals in any state, newest first."""
    order = "ORDER BY created_at DESC, id LIMIT :limit"
    query = f"SELECT * FROM approvals {order}"  # noqa: S608 - constants only
    if principal.users is not None:
        # The newest of each user, so that no rows of others are read.
        newest = f"SELECT id FROM approvals WHERE user_id = users.value {order}"  # noqa: S608
        query = (
            f"SELECT approvals.* FROM json_each(:users) AS users, approvals WHERE approvals.id IN ({newest}) {order}"  # noqa: S608
        )
    users = json.dumps(["", *(principal.users or ())])
    return [_from_row(row) for row in db.execute(query, {"users": users, "limit": limit})]


def prune_unused(db: sqlite3.Connection, before: float) -> int:
    """Delete the approvals of calls that never ran and ended before that time (epoch seconds). Return how many.

    These are refused and expired ones. An approval that the journal or a withdrawal names is kept.
    """
    ended = "state IN ('waiting', 'granted', 'refused') AND max(created_at, expires_at, coalesce(decided_at, 0)) < ?"
    named = (
        "SELECT approval_id FROM mutations WHERE approval_id IS NOT NULL"
        " UNION ALL SELECT approval_id FROM withdrawals WHERE approval_id IS NOT NULL"
    )
    return db.execute(f"DELETE FROM approvals WHERE {ended} AND id NOT IN ({named})", (before,)).rowcount  # noqa: S608


def find(db: sqlite3.Connection, principal: Principal, approval_id: str) -> Approval | None:
    """Return the approval with this id, or None."""
    query = f"SELECT * FROM approvals WHERE id = :id AND {OF_PRINCIPAL}"  # noqa: S608 - constants only
    row = db.execute(query, principal.bound | {"id": approval_id}).fetchone()
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
    stored = replace(details, identity=())
    return next((found for found in map(_from_row, rows) if found.details == stored), None)


def insert(
    db: sqlite3.Connection,
    call_request: CallRequest,
    details: ApprovalDetails,
    policy: str,
    now: float,
    expires_at: float,
    seal: Callable[[str, Sequence[Detail]], bytes | None],
) -> Approval:
    """Insert a waiting approval under a new random 128-bit id. `seal` encrypts its identity data."""
    approval_id = secrets.token_hex(16)
    approval = Approval(
        id=approval_id,
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
        details=replace(details, identity=()),
        amount_cents=details.amount_cents,
        card_id=details.card_id,
        decided_at=None,
        sealed=seal(approval_id, details.identity),
    )
    values = {name: getattr(approval, name) for name in _COLUMNS} | {"details": details.as_json()}
    names, places = ", ".join(values), ", ".join("?" * len(values))
    db.execute(f"INSERT INTO approvals ({names}) VALUES ({places})", tuple(values.values()))  # noqa: S608 - our names
    return approval


def set_granted(
    db: sqlite3.Connection, principal: Principal, approval_id: str, by: Channel, now: float, expires_at: float
) -> bool:
    """Change a waiting approval to granted until `expires_at`. Returns False if it no longer waits."""
    change = (
        "UPDATE approvals SET state = 'granted', decided_by = :by, decided_at = :now, expires_at = :until,"  # noqa: S608
        f" sealed = NULL WHERE id = :id AND {_WAITING} AND {OF_PRINCIPAL}"
    )
    return _updated_one(db, change, principal.bound | {"by": by, "now": now, "until": expires_at, "id": approval_id})


def set_refused(
    db: sqlite3.Connection, principal: Principal, approval_id: str, by: Channel | Withdrawn, now: float
) -> bool:
    """Change a waiting approval to refused. Returns False if it no longer waits."""
    change = (
        "UPDATE approvals SET state = 'refused', decided_by = :by, decided_at = :now, sealed = NULL"  # noqa: S608
        f" WHERE id = :id AND {_WAITING} AND {OF_PRINCIPAL}"
    )
    return _updated_one(db, change, principal.bound | {"by": by, "now": now, "id": approval_id})


def set_executing(db: sqlite3.Connection, approval: Approval, policy: str, owner: str, now: float) -> bool:
    """Change a valid grant of this call to executing. A single UPDATE decides, so one concurrent caller gets True."""
    return _updated_one(
        db,
        "UPDATE approvals SET state = 'executing', started_at = ?, owner = ?, sealed = NULL"
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


def is_sealed(db: sqlite3.Connection, approval_id: str) -> bool:
    """Return whether the approval has encrypted identity data."""
    query = "SELECT 1 FROM approvals WHERE id = ? AND sealed IS NOT NULL"
    return db.execute(query, (approval_id,)).fetchone() is not None


def sealed_until(db: sqlite3.Connection) -> list[float]:
    """Return when the approvals with encrypted identity data expire."""
    return [float(row[0]) for row in db.execute("SELECT expires_at FROM approvals WHERE sealed IS NOT NULL")]


def erase_expired(db: sqlite3.Connection, now: float) -> bool:
    """Erase the identity data of expired approvals. Returns whether there was any."""
    erase = "UPDATE approvals SET sealed = NULL WHERE sealed IS NOT NULL AND expires_at <= ?"
    return db.execute(erase, (now,)).rowcount > 0


def _updated_one(db: sqlite3.Connection, statement: str, values: tuple[object, ...] | dict[str, object]) -> bool:
    """Run the statement and return whether it changed exactly one row."""
    return db.execute(statement, values).rowcount == 1


def _from_row(row: sqlite3.Row) -> Approval:
    values = dict(row)
    return Approval(**values | {"details": ApprovalDetails.from_json(values["details"])})
