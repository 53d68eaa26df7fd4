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
from machines_mcp.cli.client_configs.errors import ConfigFault, Unreadable


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of our entry in a client's config, and the command it runs."""

    client: Client
    path: Path
    state: Literal["ours", "other", "missing", "unreadable"]
    """`ours`: this installation's command; `other`: another one that exists; `missing`: not found or not absolute."""
    command: str


def place(client: Client, system: System, project: Path | None = None) -> Path:
    """Return the path of the config: the user's own, or the one in a project's folder.

    Raises:
        ConfigFault: The client has no config for a project.
    """
    if project is None:
        return config_path(client, system)
    if client.project is None:
        raise ConfigFault(f"{client.title} has no config for a project. Run the command without --project.")
    return project.joinpath(*client.project)


def install(client: Client, path: Path, env: Mapping[str, str]) -> str:
    """Add our entry to the config at `path`. Returns a message for the user.

    Raises:
        ConfigFault: Nothing was changed.
    """
    made, file = entry(client, env), config_file.read(path)
    held = _held(client, file)
    if held == made:
        return f"{path} already has this entry. Nothing was changed."
    backup = _change(client, file, made)
    was = "" if held is None else f", replacing another entry named {NAME}"
    kept = "" if backup is None else f" Backup: {backup}."
    return f"Added machines-mcp for {client.title} to {path}{was}. {client.then}{kept}"


def uninstall(client: Client, path: Path) -> str:
    """Remove our entry from the config at `path`. Returns a message for the user.

    Raises:
        ConfigFault: Nothing was changed.
    """
    file = config_file.read(path)
    if _held(client, file) is None:
        return f"{path} has no entry named {NAME}. Nothing was changed."
    backup = _change(client, file, None)
    return f"Removed machines-mcp from {path}. {client.then} Backup: {backup}."


def standings(system: System) -> list[Standing]:
    """Return the state of each client whose config has our entry or can't be read."""
    found = []
    for client in CLIENTS.values():
        path = config_path(client, system)
        try:
            held = _held(client, config_file.read(path))
        except ConfigFault:
            found.append(Standing(client, path, "unreadable", ""))
            continue
        if held is not None:
            named = held.get("command") if isinstance(held, dict) else None
            found.append(_standing(client, path, named if isinstance(named, str) else ""))
    return found


def _standing(client: Client, path: Path, command: str) -> Standing:
    if not Path(command).is_absolute() or shutil.which(command) is None:
        return Standing(client, path, "missing", command)
    ours = command == entry(client, {})["command"]
    return Standing(client, path, "ours" if ours else "other", command)


def _held(client: Client, file: config_file.ConfigFile) -> Any:
    try:
        group = _editor(client).values(file.text).get(client.group)
    except Unreadable as fault:
        raise _fault(file, fault) from None
    return group.get(NAME) if isinstance(group, dict) else None


def _change(client: Client, file: config_file.ConfigFile, made: dict[str, Any] | None) -> Path | None:
    editor, path, text = _editor(client), (client.group, NAME), file.text
    try:
        before = editor.values(text)
        changed = editor.take(text, path) if made is None else editor.put(text, path, made)
        after = editor.values(changed)
    except Unreadable as fault:
        raise _fault(file, fault) from None
    if _others(after, path) != _others(before, path) or after.get(client.group, {}).get(NAME) != made:
        raise ConfigFault(f"{file.path} can't be edited automatically. Paste the output of --print into it.")
    return file.replace(changed)


def _others(values: dict[str, Any], path: tuple[str, str]) -> dict[str, Any]:
    group = {name: value for name, value in values.get(path[0], {}).items() if name != path[1]}
    rest = {name: value for name, value in values.items() if name != path[0]}
    return rest | ({path[0]: group} if group else {})


def _editor(client: Client) -> ModuleType:
    return toml_edit if client.form == "toml" else jsonc_edit


def _fault(file: config_file.ConfigFile, fault: Unreadable) -> ConfigFault:
    return ConfigFault(f"{file.path}, line {fault.line}: {fault}. Nothing was changed. Fix the file and try again.")
