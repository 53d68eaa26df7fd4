"""Add, inspect and remove our entry in a client's config."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from machines_mcp.cli.client_configs import config_file
from machines_mcp.cli.client_configs.clients import CLIENTS, NAME, Client, System, config_path
from machines_mcp.cli.client_configs.editors import editor
from machines_mcp.cli.client_configs.entry import entry
from machines_mcp.cli.client_configs.errors import ConfigError, Unreadable


@dataclass(frozen=True, slots=True)
class EntryStatus:
    """The state of our entry in a client's config, and the command it runs."""

    client: Client
    path: Path
    state: Literal["ours", "other", "missing", "unreadable"]
    """`ours`: this installation's command; `other`: another one that exists; `missing`: not found or not absolute.

    `unreadable`: the client can't read its config.
    """
    command: str = ""
    fault: str = ""
    """Why and in which line the client can't read its config; empty if the file itself can't be read."""
    mentions_us: bool = True
    """Whether an unreadable config contains the name of our entry."""


def client_config_path(client: Client, system: System, project: Path | None = None) -> Path:
    """Return the path of the config: the user's own, or the one in a project's folder.

    Raises:
        ConfigError: The client has no config for a project.
    """
    if project is None:
        return config_path(client, system)
    if client.project_path is None:
        raise ConfigError(f"{client.title} has no config for a project. Run the command without --project.")
    return project.joinpath(*client.project_path)


def install(client: Client, path: Path, env: Mapping[str, str]) -> str:
    """Add our entry to the config at `path`. Returns a message for the user.

    Raises:
        ConfigError: Nothing was changed.
    """
    new_entry, file = entry(client, env), config_file.read(path)
    text, bom = _without_bom(client, file)
    current = _current_entry(client, path, text)
    if current == new_entry and not bom:
        return f"{path} already has this entry. Nothing was changed."
    backup = _write_entry(client, file, text, new_entry)
    was = "" if current in (None, new_entry) else f", replacing another entry named {NAME}"
    kept = "" if backup is None else f" Backup: {backup}."
    return f"Added machines-mcp for {client.title} to {path}{was}.{bom} {client.restart_hint}{kept}"


def uninstall(client: Client, path: Path) -> str:
    """Remove our entry from the config at `path`. Returns a message for the user.

    Raises:
        ConfigError: Nothing was changed.
    """
    file = config_file.read(path)
    text, bom = _without_bom(client, file)
    current = _current_entry(client, path, text)
    if current is None:
        return f"{path} has no entry named {NAME}. Nothing was changed."
    if _is_made_by_install(client, file, text, current):
        file.remove()
        return f"Removed {path}, which install made and which held only machines-mcp. Restart {client.title}."
    backup = _write_entry(client, file, text, None)
    return f"Removed machines-mcp from {path}.{bom} Restart {client.title}. Backup: {backup}."


def _is_made_by_install(client: Client, file: config_file.ConfigFile, text: str, current: Any) -> bool:
    """Return whether there was no config before `install`: it has our entry as `install` writes it, and no backup."""
    if not isinstance(current, dict) or file.is_link or file.has_backup:
        return False
    return text == file.text == editor(client).set_entry("", (client.servers_key, NAME), current)


def entry_statuses(system: System) -> list[EntryStatus]:
    """Return the state of each client whose config has our entry or can't be read, as that client reads it."""
    found = []
    for client in CLIENTS.values():
        path, text = config_path(client, system), ""
        try:
            text = config_file.read(path).text
            current = _entry_in(client, editor(client).read_values(text))
        except ConfigError:
            found.append(EntryStatus(client, path, "unreadable", mentions_us=False))
        except Unreadable as fault:
            why = f"line {fault.line}: {fault}"
            found.append(EntryStatus(client, path, "unreadable", fault=why, mentions_us=NAME in text))
        else:
            if current is not None:
                named = current.get(client.command_key) if isinstance(current, dict) else None
                found.append(_entry_status(client, path, named if isinstance(named, str) else ""))
    return found


def _entry_status(client: Client, path: Path, command: str) -> EntryStatus:
    if not Path(command).is_absolute() or shutil.which(command) is None:
        return EntryStatus(client, path, "missing", command)
    ours = command == entry(client, {})[client.command_key]
    return EntryStatus(client, path, "ours" if ours else "other", command)


def _without_bom(client: Client, file: config_file.ConfigFile) -> tuple[str, str]:
    """Return the text without a byte order mark that the client can't read, and a sentence if there was one."""
    text = editor(client).without_bom(file.text)
    removed = f" Removed the byte order mark, which {client.title} can't read."
    return text, removed if text != file.text else ""


def _entry_in(client: Client, values: dict[str, Any]) -> Any:
    """Return our entry in the values of a config; None if there is none."""
    group = values.get(client.servers_key)
    return group.get(NAME) if isinstance(group, dict) else None


def _current_entry(client: Client, path: Path, text: str) -> Any:
    try:
        return _entry_in(client, editor(client).read_values(text))
    except Unreadable as fault:
        raise _unreadable(path, fault) from None


def _write_entry(
    client: Client, file: config_file.ConfigFile, text: str, new_entry: dict[str, Any] | None
) -> Path | None:
    edit, path = editor(client), (client.servers_key, NAME)
    before = edit.read_values(text)
    try:
        changed = edit.remove_entry(text, path) if new_entry is None else edit.set_entry(text, path, new_entry)
    except Unreadable as fault:
        raise _unreadable(file.path, fault) from None
    if not _only_our_entry_differs(client, before, changed, new_entry):
        raise ConfigError(f"{file.path} can't be edited automatically. Paste the output of --print into it.")
    return file.replace(changed)


def _only_our_entry_differs(client: Client, before: dict[str, Any], changed: str, new_entry: Any) -> bool:
    try:
        after = editor(client).read_values(changed)
    except Unreadable:
        return False
    same = _without_entry(after, client.servers_key) == _without_entry(before, client.servers_key)
    return same and _entry_in(client, after) == new_entry


def _without_entry(values: dict[str, Any], servers_key: str) -> dict[str, Any]:
    group = {name: value for name, value in (values.get(servers_key) or {}).items() if name != NAME}
    rest = {name: value for name, value in values.items() if name != servers_key}
    return rest | ({servers_key: group} if group else {})


def _unreadable(path: Path, fault: Unreadable) -> ConfigError:
    return ConfigError(f"{path}, line {fault.line}: {fault}. Nothing was changed. Fix the file and try again.")
