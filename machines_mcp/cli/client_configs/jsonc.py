"""Parse JSON in a client's dialect, keeping the position of every value.

The positions let an entry be added or removed while the rest of the text stays byte for byte the same.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from machines_mcp.cli.client_configs.errors import Unreadable

SPACE = " \t\r\n"
BOM = "\ufeff"
_MAX_DEPTH = 100
# Compiled at the first use, because every command imports this module.
_LEXEME = r"""(?xs)
        (?P<space>[ \t\r\n]+)
      | (?P<comment>//[^\r\n]*|/\*.*?\*/)
      | (?P<string>"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*")
      | (?P<plain>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)
      | (?P<mark>[{}\[\],:])"""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a client accepts besides plain JSON."""

    comments: bool = False
    trailing_commas: bool = False
    bom: bool = False
    """A byte order mark at the start, as some Windows editors write it."""


STRICT = Dialect()
JSONC = Dialect(comments=True, trailing_commas=True, bom=True)


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its position in the text: from `start` up to `end`."""

    start: int
    end: int
    value: Any
    members: tuple[Member, ...] | None = None
    """The members of an object; None for other values."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an object: its name, start and value, and the position of the comma after it, if any."""

    name: str
    start: int
    node: Node
    comma: int | None


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    start: int
    end: int


def parse(text: str, dialect: Dialect = JSONC) -> Node | None:
    """Return the value in the text, or None if it holds only whitespace and comments.

    Raises:
        Unreadable: It is not JSON in this dialect.
    """
    reader = _Parser(text, dialect)
    if reader.here.kind == "end":
        return None
    node = reader.value(_MAX_DEPTH)
    if reader.here.kind != "end":
        raise reader.fault("unexpected text after the end")
    return node


class _Parser:
    """A parser with one token of lookahead."""

    def __init__(self, text: str, dialect: Dialect) -> None:
        self._text = text
        self._dialect = dialect
        self._at = 1 if text.startswith(BOM) else 0
        if self._at and not dialect.bom:
            raise self.fault("a byte order mark, which this client can't read; machines-mcp install removes it", 0)
        self.here = self._next()

    def fault(self, what: str, start: int | None = None) -> Unreadable:
        at = self.here.start if start is None else start
        return Unreadable(self._text.count("\n", 0, at) + 1, what)

    def value(self, deeper: int) -> Node:
        token = self.here
        if not deeper:
            raise self.fault("nested too deeply")
        if token.kind in ("string", "plain"):
            self._step()
            return Node(token.start, token.end, self._scalar(token))
        if token.kind == "{":
            return self._object(deeper - 1)
        if token.kind == "[":
            return self._array(deeper - 1)
        raise self.fault("missing value" if token.kind == "end" else "expected a value")

    def _object(self, deeper: int) -> Node:
        start, members = self._step().start, []
        while self.here.kind != "}":
            if self.here.kind != "string":
                raise self.fault("expected a name in double quotes or the end of the object")
            name = self._step()
            self._take(":", "missing colon")
            node = self.value(deeper)
            comma = self._comma("}")
            if comma is None and self.here.kind != "}":
                raise self.fault("missing comma or end of the object")
            members.append(Member(json.loads(self._text[name.start : name.end]), name.start, node, comma))
        value = {member.name: member.node.value for member in members}
        return Node(start, self._step().end, value, tuple(members))

    def _array(self, deeper: int) -> Node:
        start, values = self._step().start, []
        while self.here.kind != "]":
            values.append(self.value(deeper).value)
            if self._comma("]") is None and self.here.kind != "]":
                raise self.fault("missing comma or end of the list")
        return Node(start, self._step().end, values)

    def _scalar(self, token: _Token) -> Any:
        try:
            return json.loads(self._text[token.start : token.end])
        except ValueError:  # Python limits the digits of a number
            raise self.fault("a number is too long", token.start) from None

    def _comma(self, closing: str) -> int | None:
        """Take a comma, if there is one, and return its position."""
        if self.here.kind != ",":
            return None
        comma = self._step().start
        if self.here.kind == closing and not self._dialect.trailing_commas:
            raise self.fault("a trailing comma, which this client can't read", comma)
        return comma

    def _take(self, kind: str, missing: str) -> None:
        if self.here.kind != kind:
            raise self.fault(missing)
        self._step()

    def _step(self) -> _Token:
        token, self.here = self.here, self._next()
        return token

    def _next(self) -> _Token:
        while self._at < len(self._text):
            found = re.compile(_LEXEME).match(self._text, self._at)
            if found is None:
                raise self.fault("invalid JSON", self._at)
            self._at = found.end()
            if found.lastgroup == "comment" and not self._dialect.comments:
                raise self.fault("a comment, which this client can't read", found.start())
            if found.lastgroup not in ("space", "comment"):
                kind = found[0] if found.lastgroup == "mark" else str(found.lastgroup)
                return _Token(kind, found.start(), found.end())
        return _Token("end", self._at, self._at)
