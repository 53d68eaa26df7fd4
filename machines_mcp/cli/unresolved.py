"""List the unresolved calls and withdrawals of a state folder: started, with no known outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from machines_mcp.permissions.approval import Approval
from machines_mcp.storage.journal import JournalEntry
from machines_mcp.storage.migrations.stored_names import NEEDS_PERSON
from machines_mcp.storage.withdrawals import StartedWithdrawal, Withdrawals

if TYPE_CHECKING:
    from machines_mcp.permissions.factory import Guard

State = Literal["running", "unknown", "needs_person"]
"""`running`: a server is executing it. `unknown`: Machines can tell the outcome. `needs_person`: a person must."""

NO_JOURNAL_ENTRY = "It started before the journal existed, so there is no record of what was sent."
_OUTCOME_LOST = "Its response was lost or could not be saved."


@dataclass(frozen=True, slots=True)
class UnresolvedCall:
    """An unresolved call with its journal entries, or an unresolved withdrawal whose call has ended."""

    state: State
    since: float
    approval: Approval | None
    entries: Sequence[JournalEntry]
    withdrawal: StartedWithdrawal | None

    @property
    def name(self) -> str:
        """A short name for display."""
        if self.approval is not None:
            return f"{self.approval.tool} {self.approval.id} for {self.approval.user_id or 'no user'}"
        return f"withdrawal {self.withdrawal.id if self.withdrawal else ''}"

    @property
    def why(self) -> str:
        """The reason a person must decide."""
        note = next((entry.note for entry in self.entries if entry.state == NEEDS_PERSON and entry.note), None)
        if note is None and self.approval is not None and self.approval.owner is None:
            return NO_JOURNAL_ENTRY
        return note or _OUTCOME_LOST


@dataclass(frozen=True, slots=True)
class Unresolved:
    """The unresolved calls of the principal's users, and the number of those of other users."""

    calls: list[UnresolvedCall]
    others: int


async def unresolved_calls(guard: Guard) -> Unresolved:
    """Return all unresolved calls and withdrawals, oldest first.

    Raises:
        StoreUnavailable: The state folder can't be used.
    """
    found = await guard.pending.snapshot()
    rows = Withdrawals(guard.store)
    calls = [
        await _unresolved_call(guard, rows, approval, approval.id in found.needs_person) for approval in found.executing
    ]
    executing_ids = {approval.id for approval in found.executing}
    ended = [
        UnresolvedCall("needs_person", each.since, None, (), await rows.find(each.id))
        for each in found.withdrawals
        if each.approval_id not in executing_ids
    ]
    return Unresolved(sorted([*calls, *ended], key=lambda unresolved: unresolved.since), found.others_unresolved)


async def _unresolved_call(guard: Guard, rows: Withdrawals, approval: Approval, needs_person: bool) -> UnresolvedCall:
    state: State = "running" if guard.approvals.running(approval) else "needs_person" if needs_person else "unknown"
    entries, withdrawal = await guard.journal.for_approval(approval.id), await rows.for_approval(approval.id)
    return UnresolvedCall(state, approval.started_at or approval.created_at, approval, entries, withdrawal)
