"""Add, replace or remove one table in TOML with tomlkit, which keeps the comments of the rest."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from machines_mcp.cli.client_configs.errors import Unreadable

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_AT = re.compile(r"\(at line ([0-9]+),")
_BOM = "\ufeff"
_BELOW = re.compile(r"(?:^[ \t]*(?:#[^\n]*)?(?:\n|\Z))+\Z", re.MULTILINE)


def read_values(text: str) -> dict[str, Any]:
    """Return the content of the text.

    Raises:
        Unreadable: The text is not TOML.
    """
    try:
        return tomllib.loads(text.removeprefix(_BOM))
    except tomllib.TOMLDecodeError as error:
        found = _AT.search(str(error))
        raise Unreadable(int(found[1]) if found else text.count("\n") + 1, "invalid TOML") from None
    except RecursionError:
        raise Unreadable(1, "nested too deeply") from None


def set_entry(text: str, path: tuple[str, str], entry: dict[str, Any]) -> str:
    """Return the text with `entry` at `path`, replacing an existing entry or added at the end.

    Raises:
        Unreadable: The text is not TOML, or can't be changed.
    """
    import tomlkit

    current = read_values(text)
    group = current.get(path[0], {})
    if not isinstance(group, dict):
        raise Unreadable(1, f"{path[0]} is not a table")
    newline = _newline(text)
    block = tomlkit.dumps({path[0]: {path[1]: entry}}).replace("\n", newline)
    expected = current | {path[0]: group | {path[1]: entry}}
    if path[1] not in group:
        between = "" if not text else newline if text.endswith("\n") else 2 * newline
        if _has_values(added := text + between + block, expected):
            return added
    return _edited(text, path, entry, block, expected)


def remove_entry(text: str, path: tuple[str, str]) -> str:
    """Return the text without the entry at `path`, or unchanged if there is none.

    Raises:
        Unreadable: As for `set_entry`.
    """
    current = read_values(text)
    group = current.get(path[0])
    if not isinstance(group, dict) or path[1] not in group:
        return text
    rest = {name: value for name, value in group.items() if name != path[1]}
    taken = _edited(text, path, None, "", current | {path[0]: rest}).rstrip()
    return taken + _newline(text) if taken else ""


def _edited(
    text: str, path: tuple[str, str], entry: dict[str, Any] | None, block: str, expected: dict[str, Any]
) -> str:
    import tomlkit

    mark, text = text[: text.startswith(_BOM)], text.removeprefix(_BOM)
    try:
        document = tomlkit.parse(text)
        old = _swap(document, path, block)
        if not old:
            _assign(document, path, entry)
        changed = tomlkit.dumps(document)
    except Exception:  # on any failure the file stays unchanged
        raise Unreadable(1, "the format can't be edited automatically") from None
    if not _has_values(changed, expected) or not _comments(text) <= _comments(changed) | _comments(old):
        raise Unreadable(1, "the format can't be edited automatically")
    return mark + changed


def _swap(document: TOMLDocument, path: tuple[str, str], block: str) -> str:
    """Put the block in place of our tables, above the comments below each. Returns the replaced text, or ""."""
    import tomlkit
    from tomlkit.items import Table

    old = ""
    for group_key, group in document.body:
        if group_key is None or group_key.key != path[0] or not isinstance(group, Table):
            continue
        for at, (key, current) in enumerate(group.value.body):
            if key is not None and key.key == path[1] and isinstance(current, Table) and not key.is_dotted():
                text = current.as_string()
                below = _BELOW.search(text)
                group.value.body[at] = (None, tomlkit.ws(("" if old else block) + (below[0] if below else "")))
                old += "\n" + text
    return old


def _assign(document: TOMLDocument, path: tuple[str, str], entry: dict[str, Any] | None) -> None:
    """Change an entry that is written inline or with dotted keys."""
    group: Any = document[path[0]]
    if entry is None:
        group.remove(path[1])
    else:
        group[path[1]] = entry


def _has_values(text: str, expected: dict[str, Any]) -> bool:
    """Return whether the text has the wanted values. A table that only our header created may be gone."""
    try:
        current = read_values(text)
    except Unreadable:
        return False
    return {name: value for name, value in expected.items() if value != {} or name in current} == current


def _comments(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines() if line.lstrip().startswith("#")}


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
