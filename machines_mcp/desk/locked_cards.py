"""What the desk's list of locked cards needs from the tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from machines_mcp.permissions.approval_details import Detail

MOST_LOCKED = 50
"""The most cards on the list. They are the newest ones."""


@dataclass(frozen=True, slots=True)
class LockedCard:
    """A card that the agent locked, at `at` in epoch seconds."""

    lock_id: str
    user_id: str
    at: float
    rows: tuple[Detail, ...] = ()
    """What a person sees of it: its masked number, limit and label."""
    seen: str = ""
    """The digest of number and limit, which must be the same when the card is unlocked."""
    problem: str = ""
    """Why it can't be unlocked here, in a sentence. If empty, it can."""
    before_unknown: bool = False
    """Whether its status before the lock is not known. Otherwise it was active."""

    @property
    def name(self) -> str:
        """The card in words."""
        return next((f"Card {row.line()}" for row in self.rows if row.label == "Card"), "A card")


class LockedCards(Protocol):
    """Lists the cards that the agent locked, and unlocks them."""

    async def count(self) -> int:
        """Return how many there may be, without asking Machines."""

    async def shown(self) -> list[LockedCard]:
        """Return those of the newest `MOST_LOCKED` that are still locked, newest first."""

    async def unlock(self, ticked: Mapping[str, str]) -> list[str]:
        """Unlock cards by lock id, each with the digest that a person saw. Return a sentence for each."""
