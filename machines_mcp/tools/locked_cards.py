"""The cards that the agent locked: list them for a person, and unlock those that the person ticks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import anyio

from machines_mcp.desk.locked_cards import MOST_LOCKED, LockedCard
from machines_mcp.permissions.approval_details import ApprovalDetails
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.storage.card_changes import AlreadyUndone, locks_since
from machines_mcp.storage.journal_entry import JournalEntry
from machines_mcp.tools.text import pluralize

if TYPE_CHECKING:
    from machines_mcp.permissions.factory import Guard
    from machines_mcp.protocol.person_calls import PersonCalls
    from machines_mcp.protocol.tool_call import ToolCall

WITHIN_SECONDS = 24 * 60 * 60
"""Not only the UTC day, so that a lock just before midnight is on the list after it."""
_AT_ONCE = 6
_LEFT = "left alone, because"
_NOT_LOCKED = f"{_LEFT} it is no longer locked."
_NOT_LISTED = f"{_LEFT} it is not on the list: it was unlocked or locked by somebody else meanwhile."
_CHANGED = f"{_LEFT} its limit or number is not what was shown. See the list again."
_BEGUN = f"{_LEFT} another approval unlocks it already."
_NOT_SENT = "still locked: Machines did not get the request. Try again."
_UNKNOWN = "The outcome of unlocking it is not known yet. Open this list again to look it up."


class LockedCardsService:
    """Implements `LockedCards`. It raises nothing of a single card: errors become sentences."""

    def __init__(self, guard: Guard, calls: Callable[[], PersonCalls], clock: Callable[[], float] = time.time) -> None:
        self._guard = guard
        self._calls = calls
        self._clock = clock

    async def count(self) -> int:
        """Return how many there may be, without asking Machines."""
        return len(await self._locks())

    async def shown(self) -> list[LockedCard]:
        """Return those that are still locked, newest first."""
        locks = (await self._locks())[-MOST_LOCKED:][::-1]
        found: dict[str, LockedCard | None] = {}
        slots = anyio.CapacityLimiter(_AT_ONCE)

        async def look(lock: JournalEntry) -> None:
            async with slots:
                found[lock.id] = await self._look(lock)

        async with anyio.create_task_group() as tasks:
            for lock in locks:
                tasks.start_soon(look, lock)
        return [card for lock in locks if (card := found[lock.id]) is not None]

    async def unlock(self, ticked: Mapping[str, str]) -> list[str]:
        """Unlock cards by lock id, each with the digest that a person saw. Return a sentence for each."""
        locks = {lock.id: lock for lock in await self._locks()}
        done, others = 0, list[str]()
        for lock_id, seen in ticked.items():
            lock = locks.get(lock_id)
            name, what = ("A card", _NOT_LISTED) if lock is None else await self._unlock(lock, seen)
            if what:
                others.append(f"{name}: {what}")
            else:
                done += 1
        return [f"{pluralize(done, 'card')} unlocked.", *others]

    async def _locks(self) -> list[JournalEntry]:
        since = self._clock() - WITHIN_SECONDS
        return await self._guard.store.read(lambda db: locks_since(db, self._guard.principal, since))

    async def _look(self, lock: JournalEntry) -> LockedCard | None:
        """Return the card as it is now; None if it is not locked any more."""
        try:
            if lock.undone_by is not None and await self._is_undone(lock.undone_by):
                return None
            _, details = await self._prepared(lock)
        except ToolError as error:
            problem = _UNKNOWN if error.code is Code.OUTCOME_UNKNOWN else error.message
            gone = error.code in (Code.INPUT_INVALID, Code.NOT_FOUND)
            return None if gone else LockedCard(lock.id, lock.user_id, lock.created_at, problem=problem)
        if not _is_locked(details):
            return None
        unknown = lock.before_status is None
        return LockedCard(
            lock.id, lock.user_id, lock.created_at, details.items, details.seen or "", before_unknown=unknown
        )

    async def _is_undone(self, approval_id: str) -> bool:
        return await self._calls().settle(approval_id)

    async def _unlock(self, lock: JournalEntry, seen: str) -> tuple[str, str]:
        """Return the card's name, and why it was not unlocked; empty if it was."""
        name = "A card"
        try:
            call, details = await self._prepared(lock)
            name = next(f"Card {item.value}" for item in details.items if item.label == "Card")
            if not _is_locked(details):
                return name, _NOT_LOCKED
            if details.seen != seen:
                return name, _CHANGED
            taken = await self._calls().run(call, details)
            return name, "" if taken else _NOT_SENT
        except AlreadyUndone:
            return name, _BEGUN
        except ToolError as error:
            if error.code is Code.OUTCOME_UNKNOWN:
                return name, _UNKNOWN
            return name, _NOT_LOCKED if error.code in (Code.INPUT_INVALID, Code.NOT_FOUND) else error.message

    async def _prepared(self, lock: JournalEntry) -> tuple[ToolCall, ApprovalDetails]:
        values = {"card_id": lock.ids["cardId"], "status": "active"}
        return await self._calls().prepare("update_card", lock.user_id, values, undoes=lock.id)


def _is_locked(details: ApprovalDetails) -> bool:
    return any(item.label == "Status" and item.before == "locked" for item in details.items)
