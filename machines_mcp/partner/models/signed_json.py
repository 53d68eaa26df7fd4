"""The signed part of a withdrawal, kept as the JSON that came, without keys that nobody documented."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, JsonValue

# An undocumented key can hold anything, also a person's data, and no transaction is made of it.
_KEYS = frozenset({"data", "salt", "signature", "parameters", "expiresAt"})


def _documented(value: object) -> object:
    """Drop undocumented keys at any depth. All other values stay as they are."""
    if isinstance(value, dict):
        return {key: _documented(part) for key, part in value.items() if key in _KEYS}
    return [_documented(part) for part in value] if isinstance(value, list) else value


SignedJson = Annotated[JsonValue, BeforeValidator(_documented)]
"""JSON of any shape: a salt is base64, hex, or a list of 32 numbers."""
