"""One table put into, or taken out of, TOML: whole lines are cut, so that all else stays to the byte.

Where the entry stands in another form than tables with headers of their own, tomlkit changes it.
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
    """What the text holds.

    Raises:
        Unreadable: It is not TOML.
    """
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        found = _AT.search(str(error))
        raise Unreadable(int(found[1]) if found else text.count("\n") + 1, "it is not TOML here") from None
    except RecursionError:
        raise Unreadable(1, "it is nested too deeply") from None


def put(text: str, path: tuple[str, str], entry: dict[str, Any]) -> str:
    """The text with `entry` at `path`, in the place of what is there or at the end.

    Raises:
        Unreadable: It is not TOML, or can't be changed.
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
    """The text without what stands at `path`; as it is where nothing does.

    Raises:
        Unreadable: As `put`.
    """
    held = values(text)
    group = held.get(path[0])
    if not isinstance(group, dict) or path[1] not in group:
        return text
    rest = {name: value for name, value in group.items() if name != path[1]}
    changed = _cut(text, _parts(text, path), blank=True)
    # A table that only came to be by our header goes with it.
    for wanted in (held | {path[0]: rest}, {name: value for name, value in held.items() if name != path[0]}):
        if _holds(changed, wanted) and (rest or path[0] not in wanted or path[0] in values(changed)):
            return changed
    return _by_tomlkit(text, held | {path[0]: rest}, lambda doc: doc[path[0]].remove(path[1]))


def _parts(text: str, path: tuple[str, str]) -> list[tuple[int, int]]:
    """Where the lines of our tables begin and end; comments below the last line of one are not its."""
    quoted = [rf"""(?:{re.escape(name)}|"{re.escape(name)}"|'{re.escape(name)}')""" for name in path]
    ours = re.compile(rf"^[ \t]*\[[ \t]*{quoted[0]}[ \t]*\.[ \t]*{quoted[1]}[ \t]*(?:\.[^\]\n]*)?\]", re.MULTILINE)
    parts: list[tuple[int, int]] = []
    for found in ours.finditer(text):
        if _whole(text[: found.start()]):
            later = (header.start() for header in _ANY_HEADER.finditer(text, found.end()))
            end = next((start for start in later if _whole(text[:start])), len(text))
            below = _LEAVE.search(text, found.start(), end)
            # Empty lines between two of our own are ours.
            start = parts.pop()[0] if parts and not text[parts[-1][1] : found.start()].strip() else found.start()
            parts.append((start, below.start() if below else end))
    return parts


def _whole(text: str) -> bool:
    """Whether a line that follows is one of its own, not part of a list or string."""
    try:
        values(text)
    except Unreadable:
        return False
    return True


def _cut(text: str, parts: list[tuple[int, int]], *, blank: bool = False) -> str:
    for start, end in reversed(parts):
        above = text[:start]
        if blank:
            # The empty line that set it apart goes with it.
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
    except Exception:  # whatever it meets, the file is to stay as it is
        raise Unreadable(1, "its form is one that can't be changed") from None
    if not _holds(changed, wanted) or not _comments(text) <= _comments(changed):
        raise Unreadable(1, "its form is one that can't be changed")
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
