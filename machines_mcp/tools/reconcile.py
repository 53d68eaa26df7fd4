"""Helpers to reconcile an approved call that was interrupted.

Nothing is sent on a guess. Checking too early proves nothing, because Machines may still be processing the request.
"""

from __future__ import annotations

from collections.abc import Sequence

from machines_mcp.protocol.tool import NeedsPerson, NotExecuted, RetryLater
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.storage.migrations.stored_names import NEEDS_PERSON
from machines_mcp.tools.services import ServiceContext

# Tolerated clock difference: nothing is older than the request that created it.
MAX_CLOCK_SKEW_SECONDS = 5 * 60
NOTHING_HAPPENED = NotExecuted("Nothing was sent to Machines, or Machines refused it. Nothing happened.")


def outcome_from_journal(entries: Sequence[JournalEntry]) -> NotExecuted | NeedsPerson | None:
    """Return the outcome that the journal alone proves; None if Machines must be asked."""
    if not any(entry.may_have_happened for entry in entries):
        return NOTHING_HAPPENED
    for entry in entries:
        if entry.state == NEEDS_PERSON:
            return NeedsPerson(entry.note or "This server can't find out whether this happened.")
    return None


def newest_entry(entries: Sequence[JournalEntry]) -> JournalEntry:
    """Return the newest entry without an answer, else the newest that may have happened. There must be one.

    A check can itself be a mutation with an answer; its entry is not the one to reconcile.
    """
    unanswered = [entry for entry in entries if entry.state in ("pending", "unknown")]
    return (unanswered or [entry for entry in entries if entry.may_have_happened])[-1]


def time_until_conclusive(call: ServiceContext, entry: JournalEntry) -> RetryLater | None:
    """Return how long until finding nothing is conclusive; None if it already is. Call this before checking."""
    # A result may be old by the time it is judged, so measuring afterwards would count too much time.
    left = call.services.state.reconcile_seconds - call.services.state.guard.journal.elapsed(entry)
    return RetryLater(left) if left > 0 else None
