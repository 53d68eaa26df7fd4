"""Add or remove one entry in JSON with comments, without touching the rest of the text."""

from __future__ import annotations

import json
from typing import Any

from machines_mcp.cli.client_configs.errors import Unreadable
from machines_mcp.cli.client_configs.jsonc import BOM, JSONC, SPACE, Dialect, Member, Node, parse

_DEFAULT_INDENT_UNIT = "  "


def read_values(text: str, dialect: Dialect = JSONC) -> dict[str, Any]:
    """Return the object in the text.

    Raises:
        Unreadable: The text is not an object in this dialect.
    """
    try:
        # Ten times as fast as `parse`, and some clients keep megabytes of history in this file.
        plain = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        plain = None
    if isinstance(plain, dict):
        return plain
    node = parse(text, dialect)
    return {} if node is None else dict(_object(text, node, "").value)


def set_entry(text: str, path: tuple[str, str], entry: dict[str, Any]) -> str:
    """Return the text with `entry` at `path`, replacing an existing entry or added as the last one.

    Raises:
        Unreadable: The text or a value on the path is not an object, or a name is defined twice.
    """
    outer, name = path
    root = parse(text)
    if root is None:
        # Comments stay above the new object.
        above = text if not text.strip(SPACE + BOM) else text.rstrip(SPACE) + _newline(text)
        return (
            above.rstrip(" \t")
            + _render_json({outer: {name: entry}}, _DEFAULT_INDENT_UNIT, "", _newline(text))
            + _newline(text)
        )
    _object(text, root, "")
    group = _member(text, root, outer)
    if group is None:
        return _with_member(text, root, root, outer, {name: entry})
    held = _member(text, _object(text, group.node, outer), name)
    if held is None:
        return _with_member(text, root, group.node, name, entry)
    shown = _render_value(text, root, entry, _indent(text, held.start))
    return text[: held.node.start] + shown + text[held.node.end :]


def remove_entry(text: str, path: tuple[str, str]) -> str:
    """Return the text without the entry at `path`, or unchanged if there is none.

    Raises:
        Unreadable: As for `set_entry`.
    """
    outer, name = path
    root = parse(text)
    group = None if root is None else _member(text, _object(text, root, ""), outer)
    held = None if group is None else _member(text, _object(text, group.node, outer), name)
    return text if group is None or held is None else _without_member(text, group.node, held)


def _refuse(constant: str) -> None:
    """Refuse NaN and Infinity, which Python accepts and JSON does not have."""
    raise ValueError


def _object(text: str, node: Node, name: str) -> Node:
    if node.members is None:
        raise Unreadable(_line(text, node.start), f"{name or 'the document'} is not an object")
    return node


def _member(text: str, node: Node, name: str) -> Member | None:
    found = [member for member in node.members or () if member.name == name]
    if len(found) > 1:
        raise Unreadable(_line(text, found[1].start), f"{name} is defined twice")
    return found[0] if found else None


def _with_member(text: str, root: Node, node: Node, name: str, value: Any) -> str:
    """Add a last member after all comments in the object, so that each comment stays with its subject."""
    last = node.members[-1] if node.members else None
    close = node.end - 1
    end = len(text[:close].rstrip(SPACE))
    if last is not None and _on_one_line(text[node.start : close]):
        comma = "," if last.comma is None else ""
        space = " " if " " in text[node.start : close] else ""
        rest = text[last.node.end : end]
        more = "" if last.comma is None else ","
        return (
            text[: last.node.end] + comma + rest + space + _render_member(name, json.dumps(value)) + more + text[end:]
        )
    newline, outside = _newline(text), _indent(text, node.start)
    indent = _indent(text, last.start) if last is not None else outside + _indent_unit(text, root)
    member = newline + indent + _render_member(name, _render_json(value, _indent_unit(text, root), indent, newline))
    if last is None:
        closing = newline + outside if _on_one_line(text[end:close]) else ""
        return text[:end] + member + closing + text[end:]
    if last.comma is not None:
        return text[:end] + member + "," + text[end:]
    return text[: last.node.end] + "," + text[last.node.end : end] + member + text[end:]


def _without_member(text: str, node: Node, held: Member) -> str:
    members = node.members or ()
    at = members.index(held)
    start = len(text[: held.start].rstrip(SPACE))
    cuts = [(start, held.node.end)]
    if held.comma is not None:
        cuts.append((held.comma, held.comma + 1))
    elif at and (before := members[at - 1].comma) is not None:
        cuts.append((before, before + 1))
    rest = text[held.node.end : node.end] if held.comma is None else text[held.comma + 1 : node.end]
    between = "" if held.comma is None else text[held.node.end : held.comma]
    if _ends_in_line_comment(text, node.start, start) and not (between + rest).startswith(("\r", "\n")):
        # Otherwise the following text would become part of that comment.
        cuts[0] = (start + (2 if text.startswith("\r\n", start) else 1), held.node.end)
    for first, last in sorted(cuts, reverse=True):
        text = text[:first] + text[last:]
    return text if len(members) > 1 else _collapse_if_empty(text, node.start)


def _collapse_if_empty(text: str, start: int) -> str:
    """Return the text with an object that holds nothing, not even a comment, reduced to two braces."""
    inside = text[start + 1 :]
    rest = inside.lstrip(SPACE)
    return text[: start + 1] + rest if rest.startswith("}") else text


def _ends_in_line_comment(text: str, start: int, end: int) -> bool:
    """Return whether the piece ends in a `//` comment, which would swallow a name added after it."""
    line = max(start, text.rfind("\n", start, end) + 1)
    if "//" not in text[line:end]:
        return False
    try:
        return parse(text[start:end] + '"":0}') is None
    except Unreadable:
        return True


def _render_value(text: str, root: Node, value: Any, indent: str) -> str:
    if _on_one_line(text.strip(SPACE)):
        return json.dumps(value)
    return _render_json(value, _indent_unit(text, root), indent, _newline(text))


def _render_json(value: Any, unit: str, indent: str, newline: str) -> str:
    return json.dumps(value, indent=unit, ensure_ascii=False).replace("\n", newline + indent)


def _render_member(name: str, shown: str) -> str:
    return f"{json.dumps(name)}: {shown}"


def _on_one_line(piece: str) -> bool:
    return "\n" not in piece and "\r" not in piece


def _indent_unit(text: str, root: Node) -> str:
    """Return one level of indentation."""
    first = root.members[0] if root.members else None
    return (_indent(text, first.start) if first is not None else "") or _DEFAULT_INDENT_UNIT


def _indent(text: str, at: int) -> str:
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
