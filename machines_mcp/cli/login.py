"""Storing the partner key, removing it, and the person's first passphrase, which goes with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from machines_mcp.cli.prompt import Lines
from machines_mcp.server import keyring_store
from machines_mcp.server.partner_key import checked_key
from machines_mcp.server.settings import PRODUCTION_URL, SANDBOX_URL, Settings, read_settings

ENVIRONMENTS = ("sandbox", "production")
_HOSTS = {"sandbox": SANDBOX_URL.split("/")[2], "production": PRODUCTION_URL.split("/")[2]}
_NONE_SET = "No passphrase is set, so nobody can approve anything yet"


class NotDone(Exception):
    """Nothing was stored or removed; the message is one sentence that says why and what to do."""


def login(environment: str, lines: Lines, say: Callable[[str], None]) -> str:
    """Ask for the key of an environment and store it; a sentence that says where. The key is not tried.

    Raises:
        NotDone: The person changed their mind, or it can't be stored.
        NothingTyped: There was nothing to read.
        KeyFault: What was typed can't be a key.
    """
    if lines.at_terminal:
        say(f"This stores your partner key for {environment} ({_HOSTS[environment]}).{_approval_details(environment)}")
        if lines.answer(f"Is that where it belongs? Type {environment} to go on") != environment:
            raise NotDone("Nothing was stored.")
    key = checked_key(lines.ask("Partner key").expose().strip())
    try:
        where = keyring_store.keep(environment, key)
    except OSError:
        raise NotDone(f"{keyring_store.file_of(environment)} can't be written; check the folder's owner.") from None
    return f"The key for {environment} is {where}. A server with MACHINES_ENV={environment} finds it there.{_first()}"


def logout(environment: str) -> str:
    """Remove the stored key of an environment; a sentence that says whether there was one.

    Raises:
        NotDone: It may still be there.
    """
    try:
        was_there = keyring_store.forget(environment)
    except keyring_store.KeyringSilent as silent:
        raise NotDone(f"The key may still be stored: {silent}; unlock it and try again.") from None
    except OSError:
        raise NotDone(f"{keyring_store.file_of(environment)} can't be removed; check the folder's owner.") from None
    if not was_there:
        return f"No key was stored for {environment}; there was nothing to do."
    return f"The key for {environment} is no longer stored."


def settings_after_login(environment: str, env: Mapping[str, str]) -> Settings:
    """The settings of a server that will find the stored key, as far as its state folder goes.

    Raises:
        SettingsError: They can't be taken.
    """
    # The passphrase belongs to the folder, whoever the server's user will be.
    user = {} if env.get("MACHINES_USER_ID") or env.get("MACHINES_POLICY") else {"MACHINES_USER_ID": "anybody"}
    given = {name: value for name, value in env.items() if not name.startswith("MACHINES_PARTNER_KEY")}
    return read_settings(given | {"MACHINES_ENV": environment} | user)


async def first_passphrase(settings: Settings, lines: Lines, say: Callable[[str], None]) -> str | None:
    """Where none is set and one is needed: have it set at a terminal, else say how; None where nothing is to be said.

    Raises:
        NotUsable, NothingTyped, PolicyError, StoreUnavailable: As `set_at_terminal`.
    """
    from machines_mcp.cli.passphrase import set_at_terminal, standing

    if settings.simulated or (await standing(settings))[0]:
        return None
    if not lines.at_terminal:
        return f"{_NONE_SET}: run machines-mcp passphrase with this server's settings."
    say(f"{_NONE_SET}. Choose one that no agent knows, or press Ctrl-C.")
    return (await set_at_terminal(settings, lines))[1]


def _approval_details(environment: str) -> str:
    return " Money there is real." if environment == "production" else ""


def _first() -> str:
    names = [name for name in ("MACHINES_PARTNER_KEY", "MACHINES_PARTNER_KEY_FILE") if os.environ.get(name)]
    return f" Here {names[0]} is set, which is taken before it." if names else ""
