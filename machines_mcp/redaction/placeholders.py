"""Values that stand for no value: the words of a template or program, and placeholders that nobody filled in."""

from __future__ import annotations

import re

ABSENT_WORDS = frozenset({"null", "None", "undefined"})
# ${X}, ${input:x}, {{X}}, %X% and <x>, as templates, shells and clients write them.
_PLACEHOLDER = re.compile(r"\$\{[^{}]*\}|\{\{[^{}]*\}\}|%[^%\s]+%|<[^<>]+>")


def word_fault(text: str) -> str | None:
    """Return why the text is no value, as words after a field's name, if all of it is a word for a missing value."""
    return (
        "must not be the word for a missing value; give the value that is meant, or leave it out"
        if text in ABSENT_WORDS
        else None
    )


def placeholder_fault(text: str) -> str | None:
    """Return why the text is no value, as words after a field's name, if all of it is a placeholder."""
    return "is a placeholder that was not filled in" if _PLACEHOLDER.fullmatch(text.strip()) else None
