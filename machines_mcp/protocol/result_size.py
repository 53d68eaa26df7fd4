"""Keep results below the size that the output filter refuses. A list that is too long loses its last entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel
from pydantic_core import to_json

from machines_mcp.redaction.output_filter import MAX_LINE

T = TypeVar("T", bound=BaseModel)

MAX_RESULT = MAX_LINE - 32 * 1024
"""The most characters of a result, as `line_cost` counts them. The rest is for the envelope and the summary."""
MAX_LIST = MAX_RESULT - 64 * 1024
"""The same for one list of a result. The rest is for its other fields."""


def line_cost(value: object) -> int:
    """Return the characters that a value adds to a line: once as JSON, and once more as JSON within a text."""
    text = to_json(value).decode()
    return len(text) + len(to_json(text).decode())


def fitted(items: Sequence[T], room: int = MAX_LIST) -> tuple[list[T], int]:
    """Return as many of the first items as fit into `room`, and how many are left out."""
    kept: list[T] = []
    for item in items:
        room -= line_cost(item.model_dump(mode="json", exclude_none=True)) + 1
        if room < 0:
            break
        kept.append(item)
    return kept, len(items) - len(kept)
