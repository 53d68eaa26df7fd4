"""Typed readers for a request's body and query. A refusal names the field, never its value."""

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
    """A JSON object from the request, or its query (where numbers are text).

    Unknown names are ignored, because the API does not document them. `null` differs from a missing field.
    """

    def __init__(self, values: Mapping[str, object], path: str = "") -> None:
        self.values = values
        self._path = path

    def has(self, name: str) -> bool:
        return name in self.values

    def refuse(self, name: str, message: str, *, code: str = "invalid_request") -> NoReturn:
        """Raise a 400 for the field `name` of this object."""
        raise invalid(self._path + name, message, code=code)

    def require(self, name: str) -> None:
        if name not in self.values:
            self.refuse(name, "missing required field")

    def text(self, name: str, *, least: int = 1, most: int = MAX_TEXT, pattern: str | None = None) -> str:
        """Return a required string of `least` to `most` characters that fully matches `pattern`."""
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
        """Return a required string from `allowed`."""
        value = self.text(name)
        if value not in allowed:
            self.refuse(name, "must be one of the documented values")
        return value

    def optional_choice(self, name: str, allowed: Collection[str]) -> str | None:
        return self.choice(name, allowed) if self.has(name) else None

    def integer(self, name: str, *, least: int, most: int) -> int:
        """Return a required integer; `5.0` and `true` are refused."""
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
        """Return a required positive number in currency units."""
        self.require(name)
        value = self.values[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(name, "must be a number")
        if not 0 < value <= 1e12 or not math.isfinite(value):
            self.refuse(name, "must be above 0 and at most 1e12")
        return float(value)

    def optional_amount(self, name: str) -> float | None:
        return self.amount(name) if self.has(name) else None

    def flag(self, name: str) -> bool:
        """Return a required boolean."""
        self.require(name)
        value = self.values[name]
        if not isinstance(value, bool):
            self.refuse(name, "must be true or false")
        return value

    def optional_flag(self, name: str) -> bool | None:
        return self.flag(name) if self.has(name) else None

    def child(self, name: str) -> Fields:
        """Return a required object."""
        self.require(name)
        value = self.values[name]
        if not isinstance(value, dict):
            self.refuse(name, "must be an object")
        return Fields(value, f"{self._path}{name}.")

    def optional_child(self, name: str) -> Fields | None:
        return self.child(name) if self.has(name) else None


def parse_body(raw: bytes) -> Fields:
    """Parse the request's body as an object; an empty body is `{}`."""
    if not raw.strip():
        return Fields({})
    try:
        value = json.loads(raw, parse_constant=_refuse_constant)
        # A lone surrogate is valid JSON but can't be encoded: it could be neither stored nor returned.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise invalid(None, "body must be valid JSON") from None
    if not isinstance(value, dict):
        raise invalid(None, "body must be a JSON object")
    return Fields(value)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError("not a JSON number")


def parse_query(query: Mapping[str, str]) -> Fields:
    """Parse the query as fields, converting the known integer parameters."""
    values: dict[str, Any] = {}
    for name, value in query.items():
        values[name] = int(value) if name in _INTEGERS and re.fullmatch(r"-?[0-9]{1,15}", value) else value
    return Fields(values)


_INTEGERS: Final = frozenset({"limit", "sourceChainId"})
