"""Delete old rows that no promise needs, and say what was kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from machines_mcp.cli.audit import verification_message, verify_chain
from machines_mcp.permissions.approval_rows import prune_unused
from machines_mcp.permissions.usage import DAY_SECONDS
from machines_mcp.server.settings import Settings
from machines_mcp.server.state_folder import open_guard
from machines_mcp.storage.withdrawals import prune_quotes

if TYPE_CHECKING:
    import sqlite3

# Nothing of these is ever deleted.
_KEPT = {
    "results of approved calls": "SELECT count(*) FROM approvals WHERE state IN ('executing', 'done', 'failed')",
    "journal entries": "SELECT count(*) FROM mutations",
    "withdrawals": "SELECT count(*) FROM withdrawals",
    "signatures that are still valid": "SELECT count(*) FROM withdrawals WHERE"
    " julianday(json_extract(execution, '$.expires_at')) > julianday(:now, 'unixepoch')",
}


@dataclass(frozen=True, slots=True)
class Pruned:
    """What `prune` did: whether it could, a message, and the numbers by name."""

    ok: bool
    message: str
    deleted: dict[str, int]
    kept: dict[str, int]


async def prune(settings: Settings, days: int | None, *, clock: Callable[[], float] = time.time) -> Pruned:
    """Delete rows older than `days`, or than the policy's retention. If the audit chain is not intact, delete nothing.

    Raises:
        Unverifiable: A checkpoint or the key is missing or unusable.
        StoreUnavailable: The state folder can't be used.
    """
    verification, sentence = await verify_chain(settings, None, None)
    if not verification.ok:
        return Pruned(False, f"Nothing was deleted. {sentence}", {}, {})
    async with open_guard(settings) as guard:
        days = guard.policy.retention_days if days is None else days
        before = clock() - days * DAY_SECONDS
        reads = await guard.audit.prune(before)
        quotes, approvals = await guard.store.run(lambda db: (prune_quotes(db, before), prune_unused(db, before)))
        kept = await guard.store.read(lambda db: _kept(db, clock()))
    verification, _ = await verify_chain(settings, None, None)
    deleted = {"audit rows of reads": reads, "unused quotes": quotes, "approvals of calls that never ran": approvals}
    message = (
        f"Deleted, older than {days} days: {_list(deleted)}.\n"
        f"Kept: {_list(kept | {'audit rows': verification.rows})}.\n{verification_message(verification, None)}"
    )
    return Pruned(verification.ok, message, deleted, kept)


def _kept(db: sqlite3.Connection, now: float) -> dict[str, int]:
    return {name: int(db.execute(query, {"now": now}).fetchone()[0]) for name, query in _KEPT.items()}


def _list(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
