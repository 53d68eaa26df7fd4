"""Add or remove one table in TOML by cutting whole lines, so that the rest stays byte for byte the same.

If the entry is not written as tables with their own headers, tomlkit edits it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from typing import Any

from machines_mcp.cli.client_configs.errors import Unreadable

_AT = re.compile(r"\(at line ([0-9]+),")
_ANY_HEADER = re.compile(r"^[ \t]*\[", re.MULTILINE)
_LEAVE = re.compile(r"(?:^[ \t]*(?:#[^\n]*)?(?:\n|\Z))+\Z", re.MULTILINE)


def values(text: str) -> dict[str, Any]:
    """Return the content of the text.

    Raises:
        Unreadable: The text is not TOML.
    """
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        found = _AT.search(str(error))
        raise Unreadable(int(found[1]) if found else text.count("\n") + 1, "invalid TOML") from None
    except RecursionError:
        raise Unreadable(1, "nested too deeply") from None


def put(text: str, path: tuple[str, str], entry: dict[str, Any]) -> str:
    """Return the text with `entry` at `path`, replacing an existing entry or added at the end.

    Raises:
        Unreadable: The text is not TOML, or can't be changed.
    """
    held = values(text)
    group = held.get(path[0], {})
    if not isinstance(group, dict):
        raise Unreadable(1, f"{path[0]} is not a table")
    parts, block = _parts(text, path), _block(path, entry, text)
    wanted = held | {path[0]: group | {path[1]: entry}}
    if parts:
        changed = text[: parts[0][0]] + block + _cut(text, parts)[parts[0][0] :]
    else:
        end = "" if not text or text.endswith("\n") else _newline(text)
        changed = text + end + (_newline(text) if text else "") + block
    return changed if _holds(changed, wanted) else _by_tomlkit(text, wanted, lambda doc: _set(doc, path, entry))


def take(text: str, path: tuple[str, str]) -> str:
    """Return the text without the entry at `path`, or unchanged if there is none.

    Raises:
        Unreadable: As for `put`.
    """
    held = values(text)
    group = held.get(path[0])
    if not isinstance(group, dict) or path[1] not in group:
        return text
    rest = {name: value for name, value in group.items() if name != path[1]}
    changed = _cut(text, _parts(text, path), blank=True)
    # A parent table that only our header created is removed, too.
    for wanted in (held | {path[0]: rest}, {name: value for name, value in held.items() if name != path[0]}):
        if _holds(changed, wanted) and (rest or path[0] not in wanted or path[0] in values(changed)):
            return changed
    return _by_tomlkit(text, held | {path[0]: rest}, lambda doc: doc[path[0]].remove(path[1]))


def _parts(text: str, path: tuple[str, str]) -> list[tuple[int, int]]:
    """Return the start and end of our tables. Comments below a table's last line are not part of it."""
    quoted = [rf"""(?:{re.escape(name)}|"{re.escape(name)}"|'{re.escape(name)}')""" for name in path]
    ours = re.compile(rf"^[ \t]*\[[ \t]*{quoted[0]}[ \t]*\.[ \t]*{quoted[1]}[ \t]*(?:\.[^\]\n]*)?\]", re.MULTILINE)
    parts: list[tuple[int, int]] = []
    for found in ours.finditer(text):
        if _whole(text[: found.start()]):
            later = (header.start() for header in _ANY_HEADER.finditer(text, found.end()))
            end = next((start for start in later if _whole(text[:start])), len(text))
            below = _LEAVE.search(text, found.start(), end)
            # Blank lines between two of our tables are ours.
            start = parts.pop()[0] if parts and not text[parts[-1][1] : found.start()].strip() else found.start()
            parts.append((start, below.start() if below else end))
    return parts


def _whole(text: str) -> bool:
    """Return whether a line that follows is a statement of its own, not part of a list or string."""
    try:
        values(text)
    except Unreadable:
        return False
    return True


def _cut(text: str, parts: list[tuple[int, int]], *, blank: bool = False) -> str:
    for start, end in reversed(parts):
        above = text[:start]
        if blank:
            # Also remove the blank line above it.
            above = re.sub(r"(\A|\n)\r?\n\Z", r"\1", above)
        text = above + text[end:]
    return text


def _block(path: tuple[str, str], entry: dict[str, Any], text: str) -> str:
    import tomlkit

    return tomlkit.dumps({path[0]: {path[1]: entry}}).replace("\n", _newline(text))


def _holds(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return values(text) == wanted
    except Unreadable:
        return False


def _by_tomlkit(text: str, wanted: dict[str, Any], change: Callable[[Any], object]) -> str:
    import tomlkit

    try:
        document = tomlkit.parse(text)
        change(document)
        changed = tomlkit.dumps(document)
    except Exception:  # on any failure the file stays unchanged
        raise Unreadable(1, "the format can't be edited automatically") from None
    if not _holds(changed, wanted) or not _comments(text) <= _comments(changed):
        raise Unreadable(1, "the format can't be edited automatically")
    return changed


def _set(document: Any, path: tuple[str, str], entry: dict[str, Any]) -> None:
    import tomlkit

    if path[0] not in document:
        document[path[0]] = tomlkit.table()
    document[path[0]][path[1]] = entry


def _comments(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines() if line.lstrip().startswith("#")}


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
