"""Freeze and unfreeze the changes of a state folder at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from machines_mcp.permissions.decision import MESSAGES
from machines_mcp.permissions.policy import PolicyError, default_policy
from machines_mcp.redaction.characters import printable
from machines_mcp.redaction.display import moment
from machines_mcp.redaction.secret import Secret
from machines_mcp.redaction.user_id import user_id_fault
from machines_mcp.server.settings import Settings
from machines_mcp.server.state_folder import load_operator_policy, open_guard
from machines_mcp.storage.freeze import EVERYONE, Freeze

MAX_LISTED = 5


class ImpossibleUser(Exception):
    """No server accepts this user id, and no freeze has it. The message says why."""


async def freeze(settings: Settings, user_id: str | None) -> str:
    """Freeze the changes of one user, or of all. Return a message for the person.

    Raises:
        StoreUnavailable: The state folder can't be used.
    """
    try:
        policy = load_operator_policy(settings)
    except PolicyError:
        # Servers that started before the file was broken still run, and a broken file must not keep them running.
        policy = default_policy(settings.environment.value, read_only=True)
    async with open_guard(settings, policy) as guard:
        frozen = await guard.freezes.freeze("terminal", user_id or EVERYONE)
        known = guard.principal.may_act_for(user_id or EVERYONE)
    what = f"Changes {_of(user_id or EVERYONE)} are {'now' if frozen else 'already'} frozen"
    where = f"in every server of {settings.state_dir}. You can still read, lock a card and refuse approvals."
    lift = "machines-mcp unfreeze" + (" with the same --user" if user_id else "")
    hint = "" if known else " A server with these settings does not act for this user, so check the id."
    return f"{what}, {where} Lift the freeze with {lift}.{hint}"


async def unfreeze(settings: Settings, user_id: str | None, ask: Callable[[], Secret]) -> tuple[bool, str]:
    """Lift one freeze with the passphrase, if one is needed. Return whether it is lifted, and a message for the person.

    Raises:
        StoreUnavailable: The state folder can't be used.
        NoInput: No passphrase was typed.
        ImpossibleUser: The user id can't be one, and no freeze has it.
    """
    fault = None if user_id is None else user_id_fault(user_id)
    # An older version froze whatever it was given, so a freeze is found by its exact user id.
    if fault is not None and (not user_id or not _is_text(user_id)):
        raise ImpossibleUser(f"--user {fault}.")
    user_id = user_id or EVERYONE
    async with open_guard(settings) as guard:
        if fault is not None and not await guard.freezes.frozen(user_id):
            raise ImpossibleUser(f"--user {fault}.")
        if not await guard.freezes.frozen(user_id):
            return True, f"Changes {_of(user_id)} are not frozen. {describe_freezes(await guard.freezes.all())}".strip()
        if not await guard.channels.ready():
            return False, MESSAGES["unset"]
        passphrase = ask() if guard.policy.needs_passphrase else None
        decision = await guard.freezes.lift("terminal", passphrase, user_id)
        left = await guard.freezes.all()
        message = await guard.passphrase.tries.explain(decision, "terminal")
    if decision not in ("granted", "gone"):
        return False, message
    return True, f"Changes {_of(user_id)} are no longer frozen. {describe_freezes(left)}".strip()


def describe_freezes(found: Sequence[Freeze]) -> str:
    """Return a sentence per freeze, at most five, and how to lift them; empty if there is none."""
    if not found:
        return ""
    sentences = [f"Changes {_of(one.user_id)} are frozen since {moment(one.since)} UTC ({one.by})." for one in found]
    if len(found) > MAX_LISTED:
        sentences[MAX_LISTED:] = [f"{len(found) - MAX_LISTED} more users are frozen."]
    return " ".join([*sentences, "To lift a freeze, run machines-mcp unfreeze [--user ID]."])


def _is_text(text: str) -> bool:
    """Whether it is valid Unicode. Arguments of other bytes have surrogates, which no database stores."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _of(user_id: str) -> str:
    return "of all users" if user_id == EVERYONE else f"of user “{printable(user_id)}”"
