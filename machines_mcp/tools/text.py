"""Clean and truncate text from outside, and format values for display."""

from __future__ import annotations

import re
import unicodedata

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)", re.DOTALL)

# Matches the Unicode names of quotation marks (straight, curly, low, angled) and their look-alikes.
_QUOTE = re.compile(
    r"\b(QUOTATION|APOSTROPHE|PRIME|DITTO|GERESH|GERSHAYIM|(GRAVE|ACUTE) ACCENT|(TURNED|REVERSED) COMMA)\b"
)


def clean(text: str, limit: int = 200) -> str:
    """Remove ANSI sequences and control, format (bidi, zero-width), private-use and unassigned characters.

    Each run of whitespace becomes one space. Longer text is cut to `limit` characters.
    """
    plain = _ANSI.sub("", text)
    kept = "".join(" " if c.isspace() else c for c in plain if c.isspace() or unicodedata.category(c)[0] != "C")
    joined = " ".join(kept.split())
    return joined if len(joined) <= limit else joined[: limit - 1] + "…"


def clean_or_none(text: str | None, limit: int = 200) -> str | None:
    """Clean the text; return None if nothing is left."""
    return (clean(text, limit) or None) if text else None


def quote_text(text: str, limit: int = 200) -> str:
    """Clean and cut a value, and put it in “quotes” that no character inside can appear to close.

    Each run of quotes inside becomes one apostrophe. Only names can contain quotes; payout addresses and memos can't.
    """
    shown = clean(text, limit)
    return "“" + re.sub("'+", "'", "".join("'" if _is_quote(c) else c for c in shown)) + "”"


def _is_quote(character: str) -> bool:
    # Excludes letters whose Unicode name mentions a quote, and combining accents.
    mark = unicodedata.category(character)[0] in "PS" or unicodedata.category(character) == "Lm"
    return mark and _QUOTE.search(unicodedata.name(character, "")) is not None


def status_label(text: str) -> str:
    """Format a status for a sentence. Anything but a plain word may be injected text and is not repeated."""
    return text.replace("_", " ") if re.fullmatch(r"[A-Za-z_]{1,40}", text) else "unrecognized"


def pluralize(number: int, noun: str, plural: str | None = None) -> str:
    """Format a number with its noun: `1 card`, `2 cards`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
