"""Store and remove the partner key, and set the first passphrase with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from machines_mcp.cli.prompt import TerminalInput
from machines_mcp.server import keyring_store
from machines_mcp.server.partner_key import parse_key
from machines_mcp.server.settings import PRODUCTION_URL, SANDBOX_URL, Settings
from machines_mcp.server.settings_reader import read_settings

_HOSTS = {"sandbox": SANDBOX_URL.split("/")[2], "production": PRODUCTION_URL.split("/")[2]}
_NONE_SET = "No passphrase is set, so nothing can be approved"


class LoginFailed(Exception):
    """Nothing was stored or removed. The message says why and what to do."""


def login(environment: str, lines: TerminalInput, say: Callable[[str], None]) -> str:
    """Ask for an environment's key, store it and return a message that says where. The key is not tested.

    Raises:
        LoginFailed: The person did not confirm, or the key can't be stored.
        NoInput: No key was typed.
        PartnerKeyError: The input can't be a key.
    """
    if lines.at_terminal:
        say(f"This stores your partner key for {environment} ({_HOSTS[environment]}).{_money_warning(environment)}")
        if lines.read_answer(f"Type {environment} to confirm") != environment:
            raise LoginFailed("Nothing was stored.")
    key = parse_key(lines.read_secret("Partner key").expose().strip())
    try:
        where = keyring_store.store_key(environment, key)
    except OSError:
        raise LoginFailed(
            f"{keyring_store.key_file(environment)} can't be written. Check the folder's owner."
        ) from None
    return (
        f"The key for {environment} is {where}. A server with MACHINES_ENV={environment} uses it.{_precedence_note()}"
    )


def logout(environment: str) -> str:
    """Remove an environment's stored key and return a message that says whether there was one.

    Raises:
        LoginFailed: The key may still be stored.
    """
    try:
        was_there = keyring_store.remove_key(environment)
    except keyring_store.KeyringUnavailable as silent:
        raise LoginFailed(f"The key may still be stored: {silent}. Unlock it and try again.") from None
    except OSError:
        raise LoginFailed(
            f"{keyring_store.key_file(environment)} can't be removed. Check the folder's owner."
        ) from None
    if not was_there:
        return f"No key was stored for {environment}. Nothing was removed."
    return f"The key for {environment} is no longer stored."


def settings_after_login(environment: str, env: Mapping[str, str]) -> Settings:
    """Return the settings of a server that uses the stored key, enough to find its state folder.

    Raises:
        SettingsError: They are invalid.
    """
    # The passphrase belongs to the state folder, so any user id will do.
    user = {} if env.get("MACHINES_USER_ID") or env.get("MACHINES_POLICY") else {"MACHINES_USER_ID": "anybody"}
    given = {name: value for name, value in env.items() if not name.startswith("MACHINES_PARTNER_KEY")}
    return read_settings(given | {"MACHINES_ENV": environment} | user)


async def first_passphrase(settings: Settings, lines: TerminalInput, say: Callable[[str], None]) -> str | None:
    """Set the first passphrase at a terminal if one is needed. Return a message, or None if there is none to show.

    Raises:
        UnusablePassphrase, NoInput, PolicyError, StoreUnavailable: As `set_at_terminal`.
    """
    from machines_mcp.cli.passphrase import set_at_terminal, status_message

    if settings.simulated or (await status_message(settings))[0]:
        return None
    if not lines.at_terminal:
        return f"{_NONE_SET}. Run machines-mcp passphrase with this server's settings."
    say(f"{_NONE_SET}. Choose one that no agent knows, or press Ctrl-C.")
    return (await set_at_terminal(settings, lines))[1]


def _money_warning(environment: str) -> str:
    return " It moves real money." if environment == "production" else ""


def _precedence_note() -> str:
    names = [name for name in ("MACHINES_PARTNER_KEY", "MACHINES_PARTNER_KEY_FILE") if os.environ.get(name)]
    return f" {names[0]} is set here and takes precedence." if names else ""
