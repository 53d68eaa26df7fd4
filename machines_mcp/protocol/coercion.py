"""Coerce arguments to the form that the tool's schema names, if their meaning is unambiguous.

Models and scripts send numbers as strings, lists as JSON in a string, `null` (or the word) for omitted arguments, and a
hyphen for the API's en dash. Coercion happens before anything else, so that equal calls share one approval. Free text
(ids, addresses, memos) is never changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeAlias

from machines_mcp.protocol.schema import flat_schema
from machines_mcp.protocol.tool import Input
from machines_mcp.redaction.placeholders import ABSENT_WORDS

# The largest integers that a float holds exactly.
_EXACT = 2**53
_INTEGER = re.compile(r"[+-]?[0-9]{1,15}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_DASH = re.compile(r"\s*[-‐‑‒–—―−﹣-]\s*")  # noqa: RUF001 - the dashes are intended
_SPACES = re.compile(r"\s+")
_MAX_JSON = 10_000

Schema: TypeAlias = Mapping[str, Any]


def coerce_arguments(model: type[Input], raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments in the forms of the model's schema. Others stay unchanged, and validation refuses them."""
    schema = schema_of(model)
    required, properties = schema.get("required", ()), schema["properties"]
    given = {k: v for k, v in raw.items() if k in required or not _is_absent(properties.get(k, {}), v)}
    return {name: _read(properties[name], v) if name in properties else v for name, v in given.items()}


@cache
def schema_of(model: type[Input]) -> Schema:
    """Return the model's schema, with the examples for error messages."""
    return flat_schema(model, "validation", examples=True)


def _is_absent(schema: Schema, value: Any) -> bool:
    """Whether an optional argument was left out: it is None, or text that says so."""
    if not isinstance(value, str):
        return value is None
    text = schema.get("type") == "string" and "enum" not in schema and "words" not in schema
    return text and (value == "" or value in ABSENT_WORDS)


def hyphened(text: str) -> str:
    """Return the text with a plain hyphen for each dash."""
    return _DASH.sub("-", text)


def _read(schema: Schema, value: Any) -> Any:
    if "enum" in schema:
        return _choice(schema, value) if isinstance(value, str) else value
    reader = _READERS.get(schema.get("type", ""))
    return value if reader is None else reader(schema, value)


def _choice(schema: Schema, value: str) -> str:
    """Return the one choice that differs from the value only in case, dashes and spaces, else the value."""
    if value in schema["enum"]:
        return value
    meant = [choice for choice in schema["enum"] if _squeezed(choice) == _squeezed(value)]
    return meant[0] if len(meant) == 1 else value


def _squeezed(text: str) -> str:
    return _SPACES.sub(" ", hyphened(text)).strip().casefold()


def _integer(schema: Schema, value: Any) -> Any:
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value)
    # In JSON 20.0 equals 20, and some clients only send floats. The text "20.0" could mean dollars, so it is refused.
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT else value


def _number(schema: Schema, value: Any) -> Any:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    return value


def _boolean(schema: Schema, value: Any) -> Any:
    return {"true": True, "false": False}.get(value.strip().lower(), value) if isinstance(value, str) else value


def _array(schema: Schema, value: Any) -> Any:
    found = _parsed(value, list)
    return [_read(schema.get("items", {}), item) for item in found] if isinstance(found, list) else found


def _object(schema: Schema, value: Any) -> Any:
    found, parts = _parsed(value, dict), schema.get("properties", {})
    return {k: _read(parts.get(k, {}), v) for k, v in found.items()} if isinstance(found, dict) else found


def _parsed(value: Any, kind: type) -> Any:
    """Return the list or object that a string holds as JSON, else the value."""
    if not isinstance(value, str) or len(value) > _MAX_JSON:
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return found if isinstance(found, kind) else value


_READERS: Mapping[str, Callable[[Schema, Any], Any]] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "array": _array,
    "object": _object,
}
