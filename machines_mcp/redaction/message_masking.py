"""Mask likely card numbers, security codes and national ids in a message.

This works on the parsed message, not its text: a mask can't break the JSON and an escape can't hide a digit. Exempt
values are exempt only as whole strings.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic_core import from_json, to_json

from machines_mcp.redaction.card_numbers import SHORTEST
from machines_mcp.redaction.detectors import HIDDEN, has_three_digits, is_code, kind_of_field, masked_field

# A field whose short number is shown on purpose, even next to a masked card number.
_LAST_FOUR = "last4"
_STRUCTURED = "structuredContent"
# Larger numbers are written with an exponent.
_EXPONENT = 1e16


class MessageMasking:
    """Masks one message. `exempt` strings are left unchanged."""

    def __init__(self, exempt: Collection[str]) -> None:
        self._exempt = exempt
        # Most strings of a result occur twice: as text and as structured content.
        self._seen: dict[tuple[str, str], str] = {}
        # The parsed text content, its masked copy, and the number of masks.
        self._text: tuple[Any, Any, int] | None = None
        self.count = 0

    def masked(self, node: Any, key: str = "") -> Any:
        """Return the node, or a copy with its hits masked. `key` is its field name."""
        if isinstance(node, str):
            return self._string(node, key)
        if isinstance(node, dict):
            return self._object(node)
        if isinstance(node, list):
            return self._list(node, key)
        if node is None or isinstance(node, bool):
            return node
        return self._number(node, key)

    def _string(self, text: str, key: str) -> str:
        if text in self._exempt or not has_three_digits(text):
            return text
        shown = self._seen.get((text, key))
        if shown is None:
            shown = self._seen[text, key] = masked_field(key, text)
        self.count += shown != text
        return shown

    def _number(self, number: float, key: str) -> float | str:
        # A masked number becomes a string, so that the JSON stays valid.
        whole = _whole_digits(number)
        if len(whole) < SHORTEST and not kind_of_field(key):
            # Too short for a card number, and a number alone has no words that another rule looks for.
            return number
        shown = self._string(whole, key)
        return number if shown == whole else shown

    def _object(self, node: dict[str, Any]) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        hits = 0
        for name, value in node.items():
            before = self.count
            shown[self._string(name, "")] = self._structured(value) if name == _STRUCTURED else self.masked(value, name)
            hits += 0 if isinstance(value, dict | list) else self.count - before
        return self._without_codes(shown) if hits else shown

    def _structured(self, node: Any) -> Any:
        """Mask structured content, reusing the masked text content if both are equal."""
        if self._text is None or self._text[0] != node:
            return self.masked(node, _STRUCTURED)
        self.count += self._text[2]
        return self._text[1]

    def _without_codes(self, node: dict[str, Any]) -> dict[str, Any]:
        """Mask fields that could be the security code of a masked card number, whatever their name."""
        codes = [
            name
            for name, value in node.items()
            if isinstance(value, str) and is_code(value) and name != _LAST_FOUR and value not in self._exempt
        ]
        self.count += len(codes)
        return node | dict.fromkeys(codes, HIDDEN)

    def _list(self, node: list[Any], key: str) -> list[Any]:
        if key in ("content", "contents"):
            return [self._content(part) for part in node]
        return [self.masked(part, key) for part in node]

    def _content(self, part: Any) -> Any:
        """Mask a content part of a result; its text is JSON that we wrote."""
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            return self.masked(part)
        return self._object(part | {"text": ""}) | {"text": self._json_text(part["text"])}

    def _json_text(self, text: str) -> str:
        if not text.startswith(("{", "[")):
            return self._string(text, "text")
        try:
            inner = from_json(text, cache_strings="keys")
        except ValueError:
            return self._string(text, "text")
        before = self.count
        shown = self.masked(inner)
        self._text = inner, shown, self.count - before
        return to_json(shown).decode() if self.count > before else text


def _whole_digits(number: float) -> str:
    """Return the digits of a number without its fraction, which is no part of a card number, and its exponent."""
    digits = str(int(number)) if abs(number) < _EXPONENT else repr(number).partition("e")[0]
    return "".join(c for c in digits if c.isdigit())
