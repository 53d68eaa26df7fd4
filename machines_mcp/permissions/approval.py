"""An approval: one row with the call a person must decide on, and the queries for it.

    waiting -> granted <-> executing -> done | failed
            -> refused

Functions that take `db` run inside the caller's transaction.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.storage.audit_log import AuditEntry, Kind

if TYPE_CHECKING:
    import sqlite3

State = Literal["waiting", "granted", "executing", "done", "failed", "refused"]


@dataclass(frozen=True, slots=True)
class Approval:
    """One row: the requested call, the question shown to the person, and its state."""

    id: str
    tool: str
    action_class: str
    user_id: str
    digest: str
    question: str
    state: State
    created_at: float
    expires_at: float
    decided_by: str | None
    outcome: str | None
    asked_by: str
    policy: str
    details: ApprovalDetails
    amount_cents: int | None
    card_id: str | None
    decided_at: float | None
    started_at: float | None = None
    owner: str | None = None
    """The process that took the grant; empty after it gave up, None if the row is older than the journal."""

    @property
    def idempotency_key(self) -> str:
        """The idempotency key of every API request made for this approval."""
        return f"machines-{self.id}"

    @property
    def dialog(self) -> str:
        """The text of the client's dialog: the question, notes on unusual facts, and who asked."""
        notes = [f"{item.label}: {item.note}." for item in self.details.items if item.note]
        who = f"“{self.asked_by}” (as it calls itself)" if self.asked_by else "a program that gave no name"
        return "\n".join([self.question, *notes, f"Asked by {who}."])


_COLUMNS = tuple(field.name for field in fields(Approval))


def arguments_digest(key: bytes, arguments: Mapping[str, Any]) -> str:
    """Return the HMAC-SHA-256 of the canonical JSON of validated arguments. Equal calls have equal digests.

    Keyed, because arguments may be identity data, and a plain hash of few possible values can be guessed.
    """
    canonical = json.dumps(arguments, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.new(key, canonical.encode(), hashlib.sha256).hexdigest()


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
    row = db.execute(
        "SELECT * FROM approvals WHERE state = 'waiting' AND expires_at > ? AND tool = ? AND user_id = ?"
        " AND digest = ? AND details = ? AND policy = ?",
        (now, call_request.tool, call_request.user_id, call_request.digest, details.as_json(), policy),
    ).fetchone()
    return None if row is None else _from_row(row)


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


def updated_one(db: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> bool:
    """Run the statement and return whether it changed exactly one row."""
    return db.execute(statement, values).rowcount == 1


def audit_entry(kind: Kind, approval: Approval, verdict: str | None = None, code: str | None = None) -> AuditEntry:
    """Return the audit entry for a change to an approval."""
    return AuditEntry(
        kind=kind,
        tool=approval.tool,
        action_class=approval.action_class,
        user_id=approval.user_id,
        approval_id=approval.id,
        verdict=verdict,
        code=code,
        by=approval.decided_by,
        sink=approval.details.sink,
        card_id=approval.card_id,
        amount_cents=approval.amount_cents,
    )


def _from_row(row: sqlite3.Row) -> Approval:
    values = dict(row)
    return Approval(**values | {"details": ApprovalDetails.from_json(values["details"])})
