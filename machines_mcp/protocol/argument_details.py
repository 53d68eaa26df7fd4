"""Rows for the arguments of a call that waits for approval, except those that the tool describes itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from machines_mcp.permissions.approval_details import Author, Detail
from machines_mcp.protocol.tool import Input
from machines_mcp.redaction.characters import printable
from machines_mcp.redaction.display import dollars, plain_amount

_LABELS = {"user_id": "User"}
_CENTS = "_cents"


def argument_details(arguments: Input, described: Collection[str]) -> Iterator[Detail]:
    """Yield a row per argument that has a value and is not `described` elsewhere."""
    for name in type(arguments).model_fields:
        value = getattr(arguments, name)
        if value is not None and name not in described:
            author: Author | None = "agent" if isinstance(value, str | list | tuple) else None
            yield Detail(_label(name), _text(name, value), by=author)


def _label(name: str) -> str:
    return _LABELS.get(name) or name.removesuffix(_CENTS).replace("_", " ").capitalize()


def _text(name: str, value: Any) -> str:
    if name.endswith(_CENTS) and isinstance(value, int):
        return dollars(value)
    if isinstance(value, float):
        return plain_amount(value)
    if isinstance(value, list | tuple):
        return ", ".join(_text(name, one) for one in value)
    return printable(str(value))
