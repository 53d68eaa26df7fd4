"""Answers of the Partner API as hypothesis makes them out of the contract's examples."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

# In every text that is drawn; no name that the client lets through can hold it.
CANARY = "x7QZ9"
OPEN_ENUMS = {"status", "kycStatus", "type", "frequency", "callPath", "quotedAmountCurrency"}

_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12).map(lambda text: CANARY + text)
_SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
JSON: SearchStrategy[Any] = st.recursive(
    _SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3), max_leaves=6
)


def odd_body(body: dict[str, Any]) -> SearchStrategy[dict[str, Any]]:
    """The same with unknown fields in every object, and a value that nobody knows for every open enum."""
    return st.builds(_odd, st.just(body), st.dictionaries(_TEXT, JSON, min_size=1, max_size=2), _TEXT)


def hostile_body(body: dict[str, Any]) -> SearchStrategy[Any]:
    """An odd one in which anything stands in one place or a field is gone, or anything at all."""
    return st.builds(_spoilt, odd_body(body), st.integers(0, 200), JSON | st.just(...)) | JSON


def _odd(value: Any, more: dict[str, Any], unknown: str) -> Any:
    if isinstance(value, dict):
        kept = {
            name: unknown if name in OPEN_ENUMS and isinstance(member, str) else _odd(member, more, unknown)
            for name, member in value.items()
        }
        return kept | copy.deepcopy(more)
    return [_odd(member, more, unknown) for member in value] if isinstance(value, list) else value


def _spoilt(body: dict[str, Any], place: int, value: Any) -> dict[str, Any]:
    places: list[tuple[Any, Any]] = []
    level: list[Any] = [body]
    while level:
        container = level.pop(0)
        for key in list(container) if isinstance(container, dict) else range(len(container)):
            places.append((container, key))
            if isinstance(container[key], dict | list):
                level.append(container[key])
    container, key = places[place % len(places)]
    if value is ...:
        del container[key]
    else:
        container[key] = value
    return body
