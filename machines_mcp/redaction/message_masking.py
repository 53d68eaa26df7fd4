"""A message with what looks like a card's or a person's secret masked, still a message in form.

It works on the parsed message and not on its text: a mask can't break the JSON, an escape can't hide a digit, and what
is exempt is exempt as a whole string, nowhere within one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic_core import from_json, to_json

from machines_mcp.redaction.detectors import HIDDEN, hides, is_code, masked_text

# Fields whose short numbers are shown on purpose, also beside a card number that was masked.
_LAST_FOUR = "last4"
_STRUCTURED = "structuredContent"


class MessageMasking:
    """One pass over one message. `exempt`: the strings that may be shown whole."""

    def __init__(self, exempt: Collection[str]) -> None:
        self._exempt = exempt
        # Most strings of an answer stand in it twice: as text and as structured content.
        self._seen: dict[tuple[str, str], str] = {}
        # What the text said, what is shown of it, and how much was masked.
        self._text: tuple[Any, Any, int] | None = None
        self.count = 0

    def masked(self, node: Any, key: str = "") -> Any:
        """The node, or a copy with its hits masked; `key` is the name it stands under."""
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
        if text in self._exempt:
            return text
        shown = self._seen.get((text, key))
        if shown is None:
            shown = self._seen[text, key] = HIDDEN if hides(key, text) else masked_text(text)
        self.count += shown != text
        return shown

    def _number(self, number: float, key: str) -> float | str:
        # What is masked becomes a string, so that the JSON stays JSON.
        text = str(abs(number))
        whole = text.removesuffix(".0")
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
        """An answer's structured content; mostly it says what the text before it said."""
        if self._text is None or self._text[0] != node:
            return self.masked(node, _STRUCTURED)
        self.count += self._text[2]
        return self._text[1]

    def _without_codes(self, node: dict[str, Any]) -> dict[str, Any]:
        """Without what may be the code that came with a card number, whatever its name."""
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
        """A part of an answer, whose text is JSON of our own making."""
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            return self.masked(part)
        return self._object(part | {"text": ""}) | {"text": self._json_text(part["text"])}

    def _json_text(self, text: str) -> str:
        if not text.startswith(("{", "[")):
            return self._string(text, "text")
        try:
            inner = from_json(text)
        except ValueError:
            return self._string(text, "text")
        before = self.count
        shown = self.masked(inner)
        self._text = inner, shown, self.count - before
        return to_json(shown).decode() if self.count > before else text
