"""Setting and changing the person's passphrase at a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from machines_mcp.cli.prompt import Lines
from machines_mcp.permissions.passphrase import MAX_LENGTH, MIN_LENGTH
from machines_mcp.server.settings import Settings
from machines_mcp.server.state_folder import opened_guard

if TYPE_CHECKING:
    from machines_mcp.permissions.passphrase import Answer

_STANDS_AGAINST: dict[Answer, str] = {
    "wrong": "That is not the passphrase; it was not changed. The fifth wrong one within 15 minutes locks it.",
    "locked": "There were five wrong tries, so it was not changed: for 15 minutes not even the right one is looked at.",
}


class NotUsable(Exception):
    """The new passphrase can't be taken; the message is one sentence that says why."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a passphrase is set, when (seconds since the epoch), whether it is locked, and whether one is needed."""

    set_at: float | None
    locked: bool
    needed: bool

    def as_json(self) -> dict[str, Any]:
        """For a program; the time is ISO in UTC."""
        at = None if self.set_at is None else datetime.fromtimestamp(self.set_at, UTC).isoformat(timespec="seconds")
        return {"set": self.set_at is not None, "set_at": at, "locked": self.locked, "needed": self.needed}


async def looked_up(settings: Settings) -> Standing:
    """How the passphrase stands.

    Raises:
        StoreUnavailable: The state folder, or the file of the verifier, can't be used.
    """
    async with opened_guard(settings) as guard:
        verifier = await guard.passphrase.verifier()
        locked = await guard.passphrase.locked()
        return Standing(None if verifier is None else verifier.set_at, locked, guard.policy.needs_passphrase)


async def standing(settings: Settings) -> tuple[bool, str]:
    """Whether a passphrase is set, and a sentence that says when it was.

    Raises:
        StoreUnavailable: The state folder, or the file of the verifier, can't be used.
    """
    found = await looked_up(settings)
    if found.set_at is None:
        return False, "No passphrase is set." + _unneeded(settings)
    more = " It is locked after five wrong tries." if found.locked else ""
    return True, f"A passphrase was set at {_moment(found.set_at)} UTC.{more}{_unneeded(settings)}"


async def set_at_terminal(settings: Settings, lines: Lines) -> tuple[bool, str]:
    """Ask for the old passphrase where there is one and for the new one, and keep that: whether it was, in a sentence.

    Raises:
        NotUsable: The new one is too short or too long, or was not typed the same twice.
        NothingTyped: There was nothing to read.
        StoreUnavailable: The state folder, or the file of the verifier, can't be used.
    """
    async with opened_guard(settings) as guard:
        old = lines.ask("Passphrase until now") if await guard.passphrase.is_set() else None
        if old is not None:
            answer = await guard.passphrase.check(old, "terminal")
            if answer != "right":
                return False, _STANDS_AGAINST[answer]
        new = lines.ask(f"New passphrase ({MIN_LENGTH} characters or more)")
        if not MIN_LENGTH <= len(new.expose()) <= MAX_LENGTH:
            raise NotUsable(f"A passphrase has {MIN_LENGTH} to {MAX_LENGTH} characters; nothing was set.")
        if lines.at_terminal and lines.ask("Once more").expose() != new.expose():
            raise NotUsable("The two were not the same; nothing was set.")
        answer = await guard.passphrase.set(new, old)
        if answer != "right":
            return False, _STANDS_AGAINST[answer]
        verifier = await guard.passphrase.verifier()
    at = f" at {_moment(verifier.set_at)} UTC" if verifier is not None else ""
    return True, f"The passphrase was {'changed' if old else 'set'}{at}.{_unneeded(settings)}"


def _unneeded(settings: Settings) -> str:
    return " Nothing asks for it with MACHINES_ENV=embedded." if settings.simulated else ""


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
