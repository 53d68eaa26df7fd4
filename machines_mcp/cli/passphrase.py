"""Set and change the approval passphrase at a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

from machines_mcp.cli.prompt import TerminalInput
from machines_mcp.permissions.passphrase import MAX_LENGTH, MIN_LENGTH
from machines_mcp.permissions.passphrase_tries import format_alarm
from machines_mcp.redaction.display import iso, moment
from machines_mcp.server.settings import Settings
from machines_mcp.server.state_folder import open_guard


class UnusablePassphrase(Exception):
    """The new passphrase is not accepted; the message says why."""


@dataclass(frozen=True, slots=True)
class PassphraseStatus:
    """Whether a passphrase is set, when (seconds since the epoch), and whether one is needed.

    `wait` is the seconds until the next try in a terminal; `alarms` are sentences about many wrong tries.
    """

    set_at: float | None
    needed: bool
    wait: int
    alarms: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON; the time is ISO in UTC."""
        at = None if self.set_at is None else iso(self.set_at)
        told = {"set": self.set_at is not None, "set_at": at, "needed": self.needed}
        return told | {"wait_seconds": self.wait, "alarms": list(self.alarms)}


async def passphrase_status(settings: Settings) -> PassphraseStatus:
    """Return the status of the passphrase.

    Raises:
        StoreUnavailable: The state folder or the verifier's file can't be used.
    """
    async with open_guard(settings) as guard:
        verifier, tries = await guard.passphrase.verifier(), guard.passphrase.tries
        return PassphraseStatus(
            set_at=None if verifier is None else verifier.set_at,
            needed=guard.policy.needs_passphrase,
            wait=ceil(await tries.wait("terminal")),
            alarms=tuple(format_alarm(found) for found in await tries.alarms()),
        )


async def status_message(settings: Settings) -> tuple[bool, str]:
    """Return whether a passphrase is set, and a sentence that says when.

    Raises:
        StoreUnavailable: The state folder or the verifier's file can't be used.
    """
    found = await passphrase_status(settings)
    if found.set_at is None:
        return False, "No passphrase is set." + _not_needed_note(settings)
    sentences = [f"A passphrase was set at {moment(found.set_at)} UTC.{_not_needed_note(settings)}", *found.alarms]
    return True, " ".join(sentences)


async def set_at_terminal(settings: Settings, lines: TerminalInput) -> tuple[bool, str]:
    """Ask for the current passphrase, if any, and a new one. Return whether it was stored, and a message.

    Raises:
        UnusablePassphrase: The new one is too short or too long, or the two entries differ.
        NoInput: No passphrase was typed.
        StoreUnavailable: The state folder or the verifier's file can't be used.
    """
    async with open_guard(settings) as guard:
        old = lines.read_secret("Current passphrase") if await guard.passphrase.is_set() else None
        if old is not None:
            answer = await guard.passphrase.check(old, "terminal")
            if answer != "right":
                return False, await guard.passphrase.tries.explain(answer, "terminal")
        new = lines.read_secret(f"New passphrase (at least {MIN_LENGTH} characters)")
        if not MIN_LENGTH <= len(new.expose()) <= MAX_LENGTH:
            raise UnusablePassphrase(
                f"A passphrase must have {MIN_LENGTH} to {MAX_LENGTH} characters. Nothing was set."
            )
        if lines.at_terminal and lines.read_secret("Repeat the new passphrase").expose() != new.expose():
            raise UnusablePassphrase("The two passphrases differ. Nothing was set.")
        answer = await guard.passphrase.set(new, old)
        if answer != "right":
            return False, await guard.passphrase.tries.explain(answer, "terminal")
        verifier = await guard.passphrase.verifier()
    at = f" at {moment(verifier.set_at)} UTC" if verifier is not None else ""
    return True, f"The passphrase was {'changed' if old else 'set'}{at}.{_not_needed_note(settings)}"


def _not_needed_note(settings: Settings) -> str:
    return " It is not needed with MACHINES_ENV=embedded." if settings.simulated else ""
