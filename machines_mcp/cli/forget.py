"""Erase one user from the state folder at a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from machines_mcp.cli.audit import verification_message, verify_chain
from machines_mcp.permissions.decision import MESSAGES
from machines_mcp.permissions.forgetting import Forgotten, StillNeeded, forget, refuse_if_needed, truncate_log
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.settings import Settings
from machines_mcp.server.state_folder import open_guard

if TYPE_CHECKING:
    import sqlite3

    from machines_mcp.permissions.factory import Guard

UNKNOWN_USER = "No row of this state folder names this user. Check the id and MACHINES_ENV."
_RUNNING = "Servers that run remember the user until they end, so restart them."


async def forget_user(
    settings: Settings, user_id: str, ask: Callable[[], Secret], *, clock: Callable[[], float] = time.time
) -> tuple[bool, str]:
    """Erase the user, with the passphrase where approvals need one. Return whether it happened, and a message.

    Raises:
        Unverifiable: A checkpoint or the audit key is missing or unusable.
        StoreUnavailable: The state folder can't be used.
        NoInput: No passphrase was typed.
    """
    verification, sentence = await verify_chain(settings, None, None)
    if not verification.ok:
        return False, f"Nothing was erased. {sentence}"
    async with open_guard(settings) as guard:
        try:
            await guard.store.read(lambda db: refuse_if_needed(db, user_id, clock()))
            refused = await _refused(guard, ask)
            if refused is not None:
                return False, f"{refused} Nothing was erased."
            forgotten = await guard.store.run(partial(_forget, guard=guard, user_id=user_id, now=clock()))
        except StillNeeded as needed:
            return False, str(needed)
    if forgotten is None:
        return False, UNKNOWN_USER
    verification, _ = await verify_chain(settings, None, None)
    erased = ", ".join(f"{count:,} {name}" for name, count in forgotten.erased.items())
    return verification.ok, (
        f"Erased: {erased}.\nUnder a pseudonym now: {forgotten.audit_rows:,} audit rows. {_RUNNING}\n"
        f"{verification_message(verification, None)}"
    )


async def _refused(guard: Guard, ask: Callable[[], Secret]) -> str | None:
    """Return why the person may not do this, or None."""
    if not guard.policy.needs_passphrase:
        return None
    if not await guard.channels.ready():
        return MESSAGES["unset"]
    decision = await guard.channels.check_passphrase(ask(), "terminal")
    return None if decision == "granted" else await guard.passphrase.tries.explain(decision, "terminal")


def _forget(db: sqlite3.Connection, *, guard: Guard, user_id: str, now: float) -> Forgotten | None:
    """Forget the user, or return None if no row names the user."""
    forgotten = forget(db, guard.audit, user_id, now)
    if forgotten is None:
        return None
    guard.store.at_end(truncate_log)
    return forgotten
