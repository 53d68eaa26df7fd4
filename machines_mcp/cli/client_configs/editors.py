"""How each client reads its config, and how our entry in it is edited."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from machines_mcp.cli.client_configs import jsonc_edit, toml_edit, yaml_edit
from machines_mcp.cli.client_configs.clients import Client
from machines_mcp.cli.client_configs.jsonc import BOM


class _Read(Protocol):
    def __call__(self, text: str) -> dict[str, Any]: ...


class _Set(Protocol):
    def __call__(self, text: str, path: tuple[str, str], entry: dict[str, Any]) -> str: ...


class _Remove(Protocol):
    def __call__(self, text: str, path: tuple[str, str]) -> str: ...


@dataclass(frozen=True, slots=True)
class Editor:
    """The functions of one format. All of them raise `Unreadable` for a text that the client can't read."""

    read_values: _Read
    """Returns the values in a text."""
    set_entry: _Set
    """Returns the text with an entry at a path."""
    remove_entry: _Remove
    """Returns the text without the entry at a path, or unchanged if there is none."""
    reads_bom: bool = True

    def without_bom(self, text: str) -> str:
        """Return the text without a byte order mark that the client can't read."""
        return text if self.reads_bom else text.removeprefix(BOM)


_TOML = Editor(toml_edit.read_values, toml_edit.set_entry, toml_edit.remove_entry)
_YAML = Editor(yaml_edit.read_values, yaml_edit.set_entry, yaml_edit.remove_entry)


def editor(client: Client) -> Editor:
    """Return the editor of the client's format."""
    if client.format == "json":
        read = partial(jsonc_edit.read_values, dialect=client.dialect)
        return Editor(read, jsonc_edit.set_entry, jsonc_edit.remove_entry, client.dialect.bom)
    return _TOML if client.format == "toml" else _YAML
