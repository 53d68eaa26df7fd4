"""Add, inspect and remove our entry in a client's config."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from machines_mcp.cli.client_configs import config_file, jsonc_edit, toml_edit
from machines_mcp.cli.client_configs.clients import CLIENTS, Client, System, config_path
from machines_mcp.cli.client_configs.entry import NAME, entry
from machines_mcp.cli.client_configs.errors import ConfigError, Unreadable


@dataclass(frozen=True, slots=True)
class EntryStatus:
    """The state of our entry in a client's config, and the command it runs."""

    client: Client
    path: Path
    state: Literal["ours", "other", "missing", "unreadable"]
    """`ours`: this installation's command; `other`: another one that exists; `missing`: not found or not absolute."""
    command: str


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
    current = _current_entry(client, file)
    if current == new_entry:
        return f"{path} already has this entry. Nothing was changed."
    backup = _write_entry(client, file, new_entry)
    was = "" if current is None else f", replacing another entry named {NAME}"
    kept = "" if backup is None else f" Backup: {backup}."
    return f"Added machines-mcp for {client.title} to {path}{was}. {client.restart_hint}{kept}"


def uninstall(client: Client, path: Path) -> str:
    """Remove our entry from the config at `path`. Returns a message for the user.

    Raises:
        ConfigError: Nothing was changed.
    """
    file = config_file.read(path)
    if _current_entry(client, file) is None:
        return f"{path} has no entry named {NAME}. Nothing was changed."
    backup = _write_entry(client, file, None)
    return f"Removed machines-mcp from {path}. {client.restart_hint} Backup: {backup}."


def entry_statuses(system: System) -> list[EntryStatus]:
    """Return the state of each client whose config has our entry or can't be read."""
    found = []
    for client in CLIENTS.values():
        path = config_path(client, system)
        try:
            current = _current_entry(client, config_file.read(path))
        except ConfigError:
            found.append(EntryStatus(client, path, "unreadable", ""))
            continue
        if current is not None:
            named = current.get("command") if isinstance(current, dict) else None
            found.append(_entry_status(client, path, named if isinstance(named, str) else ""))
    return found


def _entry_status(client: Client, path: Path, command: str) -> EntryStatus:
    if not Path(command).is_absolute() or shutil.which(command) is None:
        return EntryStatus(client, path, "missing", command)
    ours = command == entry(client, {})["command"]
    return EntryStatus(client, path, "ours" if ours else "other", command)


def _current_entry(client: Client, file: config_file.ConfigFile) -> Any:
    try:
        group = _editor(client).read_values(file.text).get(client.servers_key)
    except Unreadable as fault:
        raise _unreadable(file, fault) from None
    return group.get(NAME) if isinstance(group, dict) else None


def _write_entry(client: Client, file: config_file.ConfigFile, new_entry: dict[str, Any] | None) -> Path | None:
    editor, path, text = _editor(client), (client.servers_key, NAME), file.text
    try:
        before = editor.read_values(text)
        changed = editor.remove_entry(text, path) if new_entry is None else editor.set_entry(text, path, new_entry)
        after = editor.read_values(changed)
    except Unreadable as fault:
        raise _unreadable(file, fault) from None
    if (
        _without_entry(after, path) != _without_entry(before, path)
        or after.get(client.servers_key, {}).get(NAME) != new_entry
    ):
        raise ConfigError(f"{file.path} can't be edited automatically. Paste the output of --print into it.")
    return file.replace(changed)


def _without_entry(values: dict[str, Any], path: tuple[str, str]) -> dict[str, Any]:
    group = {name: value for name, value in values.get(path[0], {}).items() if name != path[1]}
    rest = {name: value for name, value in values.items() if name != path[0]}
    return rest | ({path[0]: group} if group else {})


def _editor(client: Client) -> ModuleType:
    return toml_edit if client.format == "toml" else jsonc_edit


def _unreadable(file: config_file.ConfigFile, fault: Unreadable) -> ConfigError:
    return ConfigError(f"{file.path}, line {fault.line}: {fault}. Nothing was changed. Fix the file and try again.")
