"""Erase one user from a state folder. The audit log keeps pseudonyms."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from machines_mcp.permissions.usage import DAY_SECONDS
from machines_mcp.redaction.display import moment

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.storage.audit_log import AuditLog

_NOTHING = " Nothing was erased."
_RESOLVE = "Run machines-mcp doctor --resolve, or wait until it ends."
# A query that finds a row if the user's data is still needed, and what to tell then.
_OBSTACLES = (
    (
        "SELECT id FROM approvals WHERE user_id = :user AND state = 'waiting' AND expires_at > :now",
        "A request of this user waits for a decision. Refuse it, or wait until it expires.",
    ),
    (
        "SELECT id FROM approvals WHERE user_id = :user AND state = 'granted' AND expires_at > :now",
        "A call of this user was approved and may still run. Try again in 5 minutes.",
    ),
    (
        "SELECT id FROM approvals WHERE user_id = :user AND state = 'executing'",
        f"A call of this user runs, or its outcome is unknown. {_RESOLVE}",
    ),
    (
        "SELECT id FROM mutations WHERE user_id = :user AND state IN ('pending', 'unknown', 'manual')",
        f"A change of this user was sent, and its outcome is unknown. {_RESOLVE}",
    ),
    (
        "SELECT id FROM withdrawals WHERE user_id = :user AND status IN ('requested', 'pending', 'unknown')",
        f"The outcome of a withdrawal of this user is unknown. {_RESOLVE}",
    ),
)
_SIGNED = "SELECT execution, updated_at FROM withdrawals WHERE user_id = ? AND execution IS NOT NULL"
# What today's limits count stays, for no user and without details.
_ANONYMIZE = (
    "UPDATE approvals SET user_id = '', digest = '', question = '', details = :details, sealed = NULL, card_id = NULL,"
    " asked_by = '', outcome = CASE WHEN json_valid(outcome)"
    " THEN json_object('code', json_extract(outcome, '$.code')) END"
    " WHERE user_id = :user AND max(created_at, coalesce(started_at, 0)) >= :day"
)
_DELETIONS = {
    "approvals": "DELETE FROM approvals WHERE user_id = :user",
    "withdrawals": "DELETE FROM withdrawals WHERE user_id = :user",
    "quotes": "DELETE FROM quotes WHERE user_id = :user",
    "journal entries": "DELETE FROM mutations WHERE user_id = :user",
    "known users": "DELETE FROM known_users WHERE user_id = :user",
    "freezes": "DELETE FROM freezes WHERE user_id = :user",
}
_CARDS = (
    "SELECT card_id FROM approvals WHERE user_id = :user AND card_id IS NOT NULL UNION"
    " SELECT reference FROM mutations WHERE user_id = :user AND operation = 'POST /cards' AND reference IS NOT NULL"
)


class StillNeeded(Exception):
    """The user's data is still needed. The message says for what, and what to do."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many rows were erased, by name, and how many audit rows name a pseudonym now."""

    erased: dict[str, int]
    audit_rows: int


def refuse_if_needed(db: sqlite3.Connection, user_id: str, now: float) -> None:
    """Refuse while something of the user waits, runs, has an unknown outcome, or can still move money.

    Raises:
        StillNeeded: It does.
    """
    for query, sentence in _OBSTACLES:
        if db.execute(query, {"user": user_id, "now": now}).fetchone() is not None:
            raise StillNeeded(sentence + _NOTHING)
    valid = max((_valid_until(*row) for row in db.execute(_SIGNED, (user_id,))), default=now)
    if valid > now:
        until = f"A withdrawal signature of this user is valid until {moment(valid)} UTC. Try again after that."
        raise StillNeeded(until + _NOTHING)


def _valid_until(answer: str, updated_at: float) -> float:
    """Return when the signature of a stored answer expires. Without a time that can be read, it has a day."""
    from machines_mcp.partner.models.withdrawals import Withdrawal

    try:
        expiry = Withdrawal.model_validate(json.loads(answer)).expiry_time
    except (ValueError, RecursionError):
        expiry = None
    return updated_at + DAY_SECONDS if expiry is None else expiry.timestamp()


def forget(db: sqlite3.Connection, audit: AuditLog, user_id: str, now: float) -> Forgotten | None:
    """Erase the user within the caller's transaction, if nothing of the user is needed. The audit chain must be intact.

    Returns None if no row names the user. Of calls since the beginning of the UTC day, the amounts and times stay,
    because limits count them.

    Raises:
        StillNeeded: Something of the user waits, runs, has an unknown outcome, or can still move money.
        StoreUnavailable: A row of the audit log was tampered with.
    """
    refuse_if_needed(db, user_id, now)
    given = {"user": user_id, "day": now - now % DAY_SECONDS, "details": json.dumps({"question": ""})}
    cards = [str(row[0]) for row in db.execute(_CARDS, given)]
    counted = db.execute(_ANONYMIZE, given).rowcount
    erased = {name: db.execute(statement, given).rowcount for name, statement in _DELETIONS.items()}
    erased["approvals"] += counted
    audit_rows = audit.forget_in(db, user_id, cards)
    return Forgotten(erased, audit_rows) if audit_rows or any(erased.values()) else None


def truncate_log(db: sqlite3.Connection, committed: bool) -> None:
    """Empty the write-ahead log, which has pages from before. For `Store.at_end`."""
    import sqlite3

    if committed:
        with suppress(sqlite3.Error):
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
