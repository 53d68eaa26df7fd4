"""Finding out what became of a granted call that was cut short: what all tools share.

Nothing is sent on a guess. A look that is too early proves nothing, since Machines may still be at work on the request.
"""

from __future__ import annotations

from collections.abc import Sequence

from machines_mcp.protocol.tool import NeedsPerson, NotExecuted, RetryLater
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.tools.services import UserCall

# Clocks differ, and nothing is older than the request for it.
CLOCKS_DIFFER_SECONDS = 5 * 60
NOTHING = NotExecuted("Nothing was sent to Machines, or Machines refused it; nothing happened.")


def known(entries: Sequence[JournalEntry]) -> NotExecuted | NeedsPerson | None:
    """What the journal says by itself; None where Machines must be asked."""
    if not any(entry.may_have_happened for entry in entries):
        return NOTHING
    for entry in entries:
        if entry.state == "manual":
            return NeedsPerson(entry.note or "It can't be told from here whether this happened.")
    return None


def newest(entries: Sequence[JournalEntry]) -> JournalEntry:
    """The newest that has no answer, else the newest that may have happened; there is one.

    A look can be a mutation of its own, with an answer: it is not what is looked for.
    """
    unanswered = [entry for entry in entries if entry.state in ("pending", "unknown")]
    return (unanswered or [entry for entry in entries if entry.may_have_happened])[-1]


def too_early(call: UserCall, entry: JournalEntry) -> RetryLater | None:
    """How long a look that begins now and finds nothing has to be repeated before it counts. Ask before looking: what
    is known of Machines may be old by the time it is judged."""
    left = call.services.reconcile_seconds - call.services.elapsed(entry)
    return RetryLater(left) if left > 0 else None
