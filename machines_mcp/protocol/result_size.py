"""Keep results below the size that the output filter refuses. A list that is too long loses entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic_core import to_json

from machines_mcp.redaction.output_filter import MAX_LINE

T = TypeVar("T")

MAX_RESULT = MAX_LINE - 32 * 1024
"""The most characters of a result, as `line_cost` counts them. The rest is for the envelope, steps and the summary."""
MAX_LIST = MAX_RESULT // 2
"""The same for one of the lists of `status`."""


def line_cost(value: object) -> int:
    """Return the characters that a value adds to a line: once as JSON, and once more as JSON within a text."""
    text = to_json(value).decode()
    return len(text) + len(to_json(text).decode())


def surely_fits(text: str) -> bool:
    """Return whether a result whose object is this JSON is far shorter than what may be sent, as most are."""
    # Each character is written once, and at most twice in the text.
    return 3 * len(text) <= MAX_RESULT


def fits(outcome: Mapping[str, Any]) -> bool:
    """Return whether a result with this outcome may be sent."""
    return 3 * len(to_json(outcome)) <= MAX_RESULT or line_cost(outcome) <= MAX_RESULT


def fitted(items: Sequence[T], room: int) -> list[T]:
    """Return the first items that fit into `room`. An item that is too large by itself is left out."""
    kept: list[T] = []
    for item in items:
        cost = line_cost(item) + 2
        if cost <= room:
            kept.append(item)
            room -= cost
    return kept


def shortened(outcome: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Return an outcome whose lists fit, and how many entries are left out. `next_steps` are kept."""
    lists = {name: value for name, value in outcome.items() if isinstance(value, list) and name != "next_steps"}
    short = {name: value for name, value in outcome.items() if name not in lists}
    room, left = MAX_RESULT - line_cost(short), 0
    # The shortest first, because what they don't need is left to the longest.
    for number, (name, items) in enumerate(sorted(lists.items(), key=lambda found: line_cost(found[1]))):
        kept = fitted(items, room // (len(lists) - number) - 4 * len(name) - 20)
        short[name] = kept
        room, left = room - line_cost({name: kept}), left + len(items) - len(kept)
    return {name: short[name] for name in outcome}, left
