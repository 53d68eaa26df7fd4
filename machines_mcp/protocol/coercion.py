"""Reading arguments as they were meant, where that can be only one thing.

Models and scripts send numbers as strings, lists as JSON in a string, `null` for what they leave out, and a hyphen for
the API's en dash. What a tool's schema says is the one canonical form; these are brought to it before anything looks
at them, so that the same call is the same intent. Free text is never touched: ids, addresses and memos are such.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeAlias

from machines_mcp.protocol.schema import flat_schema
from machines_mcp.protocol.tool import Input

# No more digits than a float holds, so that none is lost wherever the value goes.
_EXACT = 2**53
_INTEGER = re.compile(r"[+-]?[0-9]{1,15}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_DASH = re.compile(r"\s*[-‐‑‒–—―−﹣-]\s*")  # noqa: RUF001 - they are what is looked for
_SPACES = re.compile(r"\s+")
_MOST_JSON = 10_000

Schema: TypeAlias = Mapping[str, Any]


def read(model: type[Input], raw: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in the forms that the model's schema names; what fits none is left as it is, to be refused."""
    schema = schema_of(model)
    required, properties = schema.get("required", ()), schema["properties"]
    given = {name: value for name, value in raw.items() if value is not None or name in required}
    return {name: _read(properties[name], v) if name in properties else v for name, v in given.items()}


@cache
def schema_of(model: type[Input]) -> Schema:
    """The model's schema, with the examples that refusals give."""
    return flat_schema(model, "validation", examples=True)


def hyphened(text: str) -> str:
    """The text with a plain hyphen for each dash."""
    return _DASH.sub("-", text)


def _read(schema: Schema, value: Any) -> Any:
    if "enum" in schema:
        return _choice(schema, value) if isinstance(value, str) else value
    reader = _READERS.get(schema.get("type", ""))
    return value if reader is None else reader(schema, value)


def _choice(schema: Schema, value: str) -> str:
    """The one choice that differs at most in its case, its dashes and the spaces around them."""
    if value in schema["enum"]:
        return value
    meant = [choice for choice in schema["enum"] if _squeezed(choice) == _squeezed(value)]
    return meant[0] if len(meant) == 1 else value


def _squeezed(text: str) -> str:
    return _SPACES.sub(" ", hyphened(text)).strip().casefold()


def _integer(schema: Schema, value: Any) -> Any:
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value)
    # To JSON 20.0 is 20, and some clients know no other numbers. As text it could mean dollars, and is refused.
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
    """The list or object that a string holds as JSON."""
    if not isinstance(value, str) or len(value) > _MOST_JSON:
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
