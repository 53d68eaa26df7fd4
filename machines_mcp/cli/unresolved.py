"""What is unresolved in a state folder, as a person reads it: what was begun and has no outcome that is known."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from machines_mcp.permissions.approval import Intent
from machines_mcp.permissions.pending import Overview
from machines_mcp.storage.journal import Entry
from machines_mcp.storage.withdrawals import Begun, Withdrawals

if TYPE_CHECKING:
    from machines_mcp.permissions.factory import Guard

State = Literal["running", "unknown", "manual"]
"""A server is at work on it; it can be found out by asking Machines; a person must say."""

NO_ENTRY = "It was begun before there was a journal, so nothing here says what was sent."
_NOT_WRITTEN = "Its answer was lost or could not be kept."


@dataclass(frozen=True, slots=True)
class Doubt:
    """A call with what the journal has of it, or a withdrawal whose call has ended otherwise."""

    state: State
    since: float
    intent: Intent | None
    entries: Sequence[Entry]
    withdrawal: Begun | None

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        if self.intent is not None:
            return f"{self.intent.tool} {self.intent.id} of {self.intent.user_id or 'nobody'}"
        return f"withdrawal {self.withdrawal.id if self.withdrawal else ''}"

    @property
    def why(self) -> str:
        """Why a person must say."""
        note = next((entry.note for entry in self.entries if entry.state == "manual" and entry.note), None)
        if note is None and self.intent is not None and self.intent.owner is None:
            return NO_ENTRY
        return note or _NOT_WRITTEN


async def doubts(guard: Guard) -> list[Doubt]:
    """All of them, oldest first.

    Raises:
        StoreUnavailable: The state folder can't be used.
    """
    found = await Overview(guard.store, time.time).look()
    rows = Withdrawals(guard.store)
    calls = [await _of_call(guard, rows, intent, intent.id in found.by_hand) for intent in found.executing]
    at_work = {intent.id for intent in found.executing}
    alone = [
        Doubt("manual", each.since, None, (), await rows.find(each.id))
        for each in found.withdrawals
        if each.intent_id not in at_work
    ]
    return sorted([*calls, *alone], key=lambda doubt: doubt.since)


async def _of_call(guard: Guard, rows: Withdrawals, intent: Intent, by_hand: bool) -> Doubt:
    state: State = "running" if guard.intents.running(intent) else "manual" if by_hand else "unknown"
    entries, withdrawal = await guard.journal.of_intent(intent.id), await rows.of_intent(intent.id)
    return Doubt(state, intent.began_at or intent.created_at, intent, entries, withdrawal)
