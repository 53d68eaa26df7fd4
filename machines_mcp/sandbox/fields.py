"""Reads a request's body and query: each reader says what it wants, and a refusal names the field, never its value."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from typing import Any, Final, NoReturn

from machines_mcp.sandbox.envelope import invalid

MAX_TEXT: Final = 1000
MAX_CENTS: Final = 100_000_000_00


class Fields:
    """A JSON object of the request, or its query (where numbers come as text).

    Unknown names are ignored: the API says nothing about them. `null` is not the same as leaving a field out.
    """

    def __init__(self, values: Mapping[str, object], path: str = "") -> None:
        self.values = values
        self._path = path

    def has(self, name: str) -> bool:
        return name in self.values

    def refuse(self, name: str, message: str, *, code: str = "invalid_request") -> NoReturn:
        """Refuse the field `name` of this object."""
        raise invalid(self._path + name, message, code=code)

    def require(self, name: str) -> None:
        if name not in self.values:
            self.refuse(name, "missing required field")

    def text(self, name: str, *, least: int = 1, most: int = MAX_TEXT, pattern: str | None = None) -> str:
        """A required string of `least` to `most` characters that matches the whole `pattern`."""
        self.require(name)
        value = self.values[name]
        if not isinstance(value, str):
            self.refuse(name, "must be a string")
        if not least <= len(value) <= most:
            self.refuse(name, f"must have {least} to {most} characters")
        if pattern is not None and not re.fullmatch(pattern, value):
            self.refuse(name, "must match the documented pattern")
        return value

    def optional_text(
        self, name: str, *, least: int = 1, most: int = MAX_TEXT, pattern: str | None = None
    ) -> str | None:
        return self.text(name, least=least, most=most, pattern=pattern) if self.has(name) else None

    def choice(self, name: str, allowed: Collection[str]) -> str:
        """A required string that is one of `allowed`."""
        value = self.text(name)
        if value not in allowed:
            self.refuse(name, "must be one of the documented values")
        return value

    def optional_choice(self, name: str, allowed: Collection[str]) -> str | None:
        return self.choice(name, allowed) if self.has(name) else None

    def integer(self, name: str, *, least: int, most: int) -> int:
        """A required whole number; `5.0` is not one, nor is `true`."""
        self.require(name)
        value = self.values[name]
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(name, "must be an integer")
        if not least <= value <= most:
            self.refuse(name, f"must be from {least} to {most}")
        return value

    def optional_integer(self, name: str, *, least: int, most: int) -> int | None:
        return self.integer(name, least=least, most=most) if self.has(name) else None

    def amount(self, name: str) -> float:
        """A required positive number in currency units."""
        self.require(name)
        value = self.values[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(name, "must be a number")
        if not 0 < value <= 1e12 or not math.isfinite(value):
            self.refuse(name, "must be above 0 and not beyond 1e12")
        return float(value)

    def optional_amount(self, name: str) -> float | None:
        return self.amount(name) if self.has(name) else None

    def flag(self, name: str) -> bool:
        """A required `true` or `false`."""
        self.require(name)
        value = self.values[name]
        if not isinstance(value, bool):
            self.refuse(name, "must be true or false")
        return value

    def optional_flag(self, name: str) -> bool | None:
        return self.flag(name) if self.has(name) else None

    def child(self, name: str) -> Fields:
        """A required object."""
        self.require(name)
        value = self.values[name]
        if not isinstance(value, dict):
            self.refuse(name, "must be an object")
        return Fields(value, f"{self._path}{name}.")

    def optional_child(self, name: str) -> Fields | None:
        return self.child(name) if self.has(name) else None


def parse_body(raw: bytes) -> Fields:
    """The request's body as an object; no body at all reads as `{}`."""
    if not raw.strip():
        return Fields({})
    try:
        value = json.loads(raw, parse_constant=_refuse_constant)
        # A lone surrogate is valid JSON but no text: it could neither be stored nor sent back.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise invalid(None, "body must be valid JSON") from None
    if not isinstance(value, dict):
        raise invalid(None, "body must be a JSON object")
    return Fields(value)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError("not a JSON number")


def parse_query(query: Mapping[str, str]) -> Fields:
    """The query as fields; whole numbers become integers where they are asked for by name."""
    values: dict[str, Any] = {}
    for name, value in query.items():
        values[name] = int(value) if name in _INTEGERS and re.fullmatch(r"-?[0-9]{1,15}", value) else value
    return Fields(values)


_INTEGERS: Final = frozenset({"limit", "sourceChainId"})
