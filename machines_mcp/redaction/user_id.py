"""The rule for a partner's user id, for every place where a person or a client gives one."""

from __future__ import annotations

from machines_mcp.redaction.characters import text_fault
from machines_mcp.redaction.placeholders import placeholder_fault, word_fault

MAX_USER_ID = 120


def user_id_fault(text: str) -> str | None:
    """Return why no tool would accept the text as a user's id, as words after a field's name; None if one would."""
    if not 0 < len(text) <= MAX_USER_ID:
        return f"must have 1 to {MAX_USER_ID} characters"
    return text_fault(text) or word_fault(text) or placeholder_fault(text)
