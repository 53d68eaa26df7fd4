"""Add, replace or remove one entry in YAML, without touching the rest of the text.

The parser gives the position of every value; the entry is cut out or put in as text.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from machines_mcp.cli.client_configs.errors import Unreadable

if TYPE_CHECKING:
    from ruamel.yaml.nodes import Node

_MAP, _NULL = "tag:yaml.org,2002:map", "tag:yaml.org,2002:null"
_INDENT = 2


def read_values(text: str) -> dict[str, Any]:
    """Return the mapping in the text.

    Raises:
        Unreadable: The text is not one YAML document with a mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        values = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unreadable(mark.line + 1 if mark else 1, "invalid YAML") from None
    except (YAMLError, ValueError, OverflowError):
        raise Unreadable(1, "invalid YAML") from None
    except RecursionError:
        raise Unreadable(1, "nested too deeply") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise Unreadable(1, "the document is not a mapping")
    return values


def set_entry(text: str, path: tuple[str, str], entry: dict[str, Any]) -> str:
    """Return the text with `entry` at `path`, replacing an existing entry or added as the last one.

    Raises:
        Unreadable: The text is not YAML, or can't be changed.
    """
    read_values(text)
    root, (outer, name) = _compose(text), path
    group = _member(root, outer)
    if root is None or (group is None and not _in_braces(root)):
        return _insert_block(text, len(text), {outer: {name: entry}}, 0)
    if group is None:
        return _with_flow_member(text, root, outer, {name: entry})
    key, node = group
    if node.tag not in (_MAP, _NULL):
        raise Unreadable(key.start_mark.line + 1, f"{outer} is not a mapping")
    held = _member(node, name)
    if held is not None and _in_braces(node):
        return text[: held[1].start_mark.index] + json.dumps(entry, ensure_ascii=False) + text[held[1].end_mark.index :]
    if held is not None:
        start, end = _lines(text, held)
        return _insert_block(text[:start] + text[end:], start, {name: entry}, held[0].start_mark.column)
    if node.tag == _MAP and node.value and not _in_braces(node):
        end = _line_end(text, max(_end(*member) for member in node.value))
        return _insert_block(text, end, {name: entry}, node.start_mark.column)
    shown = text[node.start_mark.index : node.end_mark.index]
    if node.tag == _MAP and (node.value or "\n" in shown or _in_braces(root)):
        return _with_flow_member(text, node, name, entry)
    # Empty braces or a null: the entry goes below its key.
    after = _after_colon(text, key)
    line = text[after : _line_end(text, after)].replace(shown, "", 1)
    text = text[:after] + (line if line.strip() else line.lstrip(" ")) + text[_line_end(text, after) :]
    return _insert_block(text, _line_end(text, after), {name: entry}, key.start_mark.column + _INDENT)


def remove_entry(text: str, path: tuple[str, str]) -> str:
    """Return the text without the entry at `path`, or unchanged if there is none.

    Raises:
        Unreadable: The text is not YAML.
    """
    read_values(text)
    group = _member(_compose(text), path[0])
    held = None if group is None else _member(group[1], path[1])
    if group is None or held is None:
        return text
    key, node = group
    if _in_braces(node):
        return _without_flow_member(text, node, held)
    start, end = _lines(text, held)
    rest = text[:start] + text[end:]
    if len(node.value) > 1:
        return rest
    # Without braces the value would be null.
    after = _after_colon(text, key)
    return rest[:after] + " {}" + rest[after:]


def _compose(text: str) -> Node | None:
    from ruamel.yaml import YAML

    node: Node | None = YAML(typ="safe", pure=True).compose(text)
    return None if node is None or node.tag == _NULL else node


def _member(node: Node | None, name: str) -> tuple[Node, Node] | None:
    """Return the key and the value of a member of a mapping."""
    if node is None or node.tag != _MAP:
        return None
    return next(((key, value) for key, value in node.value if key.value == name), None)


def _in_braces(node: Node) -> bool:
    return bool(getattr(node, "flow_style", False))


def _end(*nodes: Node) -> int:
    """Return the position after the last character of the nodes. A block's own end is after the comments below it."""
    ends: list[int] = []
    for node in nodes:
        if not isinstance(node.value, list) or _in_braces(node):
            ends.append(node.end_mark.index)
            continue
        ends.append(node.start_mark.index)
        for inner in node.value:
            ends.append(_end(*inner) if isinstance(inner, tuple) else _end(inner))
    return max(ends)


def _with_flow_member(text: str, node: Node, name: str, value: Any) -> str:
    close = node.end_mark.index - 1
    inside = text[node.start_mark.index + 1 : close].rstrip()
    comma = ", " if node.value and not inside.endswith(",") else ""
    return f"{text[:close]}{comma}{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}{text[close:]}"


def _without_flow_member(text: str, node: Node, held: tuple[Node, Node]) -> str:
    at = node.value.index(held)
    start, end = held[0].start_mark.index, _end(*held)
    if at:
        start = _end(*node.value[at - 1])
    elif len(node.value) > 1:
        end = node.value[1][0].start_mark.index
    return text[:start] + text[end:]


def _insert_block(text: str, at: int, value: dict[str, Any], column: int) -> str:
    """Return the text with the value as lines of their own at a position, which starts a line or ends the text."""
    from io import StringIO

    from ruamel.yaml import YAML

    writer, written = YAML(), StringIO()
    # Longer values, such as paths, stay on one line.
    writer.width = 100_000
    writer.indent(mapping=_INDENT, sequence=2 * _INDENT, offset=_INDENT)
    writer.dump(_quoted(value), written)
    newline = "\r\n" if "\r\n" in text else "\n"
    between = "" if not at or text[at - 1] == "\n" else newline
    block = "".join(" " * column + line + newline for line in written.getvalue().splitlines())
    return text[:at] + between + block + text[at:]


def _quoted(value: Any) -> Any:
    """Quote all strings: YAML 1.1 reads a plain `on` as a boolean, and YAML 1.2 as a string."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if isinstance(value, dict):
        return {name: _quoted(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_quoted(inner) for inner in value]
    return DoubleQuotedScalarString(value) if isinstance(value, str) else value


def _after_colon(text: str, key: Node) -> int:
    return text.index(":", key.end_mark.index) + 1


def _lines(text: str, member: tuple[Node, Node]) -> tuple[int, int]:
    """Return the start of a member's first line, and of the line after its last one."""
    return text.rfind("\n", 0, member[0].start_mark.index) + 1, _line_end(text, _end(*member))


def _line_end(text: str, at: int) -> int:
    """Return the start of the next line, or `at` if it is the start of a line."""
    if at and text[at - 1] == "\n":
        return at
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1
