"""JSON with comments and trailing commas, read with the place of everything in it.

So that one entry can be put in or taken out by cutting the text at that place, and all else stays to the byte.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from machines_mcp.cli.client_configs.errors import Unreadable

SPACE = " \t\r\n"
_DEEPEST = 100
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+|//[^\r\n]*|/\*.*?\*/)
      | (?P<string>"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*")
      | (?P<plain>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)
      | (?P<mark>[{}\[\],:])""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place in the text: from `start` up to `end`."""

    start: int
    end: int
    value: Any
    members: tuple[Member, ...] | None = None
    """Those of an object; None elsewhere."""


@dataclass(frozen=True, slots=True)
class Member:
    """A name in an object, where it begins, its value, and where the comma after it is, if there is one."""

    name: str
    start: int
    node: Node
    comma: int | None


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    start: int
    end: int


def parse(text: str) -> Node | None:
    """The value that the text holds; None where it holds nothing but space and comments.

    Raises:
        Unreadable: It is not JSON, comments and trailing commas aside.
    """
    reader = _Reader(text)
    if reader.here.kind == "end":
        return None
    node = reader.value(_DEEPEST)
    if reader.here.kind != "end":
        raise reader.fault("something stands after the end")
    return node


class _Reader:
    """Reads one token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 1 if text.startswith("\ufeff") else 0
        self.here = self._next()

    def fault(self, what: str, start: int | None = None) -> Unreadable:
        at = self.here.start if start is None else start
        return Unreadable(self._text.count("\n", 0, at) + 1, what)

    def value(self, deeper: int) -> Node:
        token = self.here
        if not deeper:
            raise self.fault("it is nested too deeply")
        if token.kind in ("string", "plain"):
            self._step()
            return Node(token.start, token.end, json.loads(self._text[token.start : token.end]))
        if token.kind == "{":
            return self._object(deeper - 1)
        if token.kind == "[":
            return self._array(deeper - 1)
        raise self.fault("a value is missing" if token.kind == "end" else "a value should stand here")

    def _object(self, deeper: int) -> Node:
        start, members = self._step().start, []
        while self.here.kind != "}":
            if self.here.kind != "string":
                raise self.fault("a name in double quotes, or the end of the object, should stand here")
            name = self._step()
            self._take(":", "a colon is missing")
            node = self.value(deeper)
            comma = self._step().start if self.here.kind == "," else None
            if comma is None and self.here.kind != "}":
                raise self.fault("a comma, or the end of the object, is missing")
            members.append(Member(json.loads(self._text[name.start : name.end]), name.start, node, comma))
        value = {member.name: member.node.value for member in members}
        return Node(start, self._step().end, value, tuple(members))

    def _array(self, deeper: int) -> Node:
        start, values = self._step().start, []
        while self.here.kind != "]":
            values.append(self.value(deeper).value)
            if self.here.kind == ",":
                self._step()
            elif self.here.kind != "]":
                raise self.fault("a comma, or the end of the list, is missing")
        return Node(start, self._step().end, values)

    def _take(self, kind: str, missing: str) -> None:
        if self.here.kind != kind:
            raise self.fault(missing)
        self._step()

    def _step(self) -> _Token:
        token, self.here = self.here, self._next()
        return token

    def _next(self) -> _Token:
        while self._at < len(self._text):
            found = _TOKEN.match(self._text, self._at)
            if found is None:
                raise self.fault("it is not JSON here", self._at)
            self._at = found.end()
            if found.lastgroup != "space":
                kind = found[0] if found.lastgroup == "mark" else str(found.lastgroup)
                return _Token(kind, found.start(), found.end())
        return _Token("end", self._at, self._at)
