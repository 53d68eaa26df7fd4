"""Text that comes from outside and is shown: cleaned of what could act, and cut to a length."""

from __future__ import annotations

import re
import unicodedata

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)", re.DOTALL)

# By the names that Unicode gives them: straight, curly, low, angled, and what looks like one.
_QUOTE = re.compile(
    r"\b(QUOTATION|APOSTROPHE|PRIME|DITTO|GERESH|GERSHAYIM|(GRAVE|ACUTE) ACCENT|(TURNED|REVERSED) COMMA)\b"
)


def clean(text: str, limit: int = 200) -> str:
    """The text without control, format (bidi, zero-width), private and unassigned characters and ANSI sequences.

    Line breaks and runs of spaces become one space; at most `limit` characters are left.
    """
    plain = _ANSI.sub("", text)
    kept = "".join(" " if c.isspace() else c for c in plain if c.isspace() or unicodedata.category(c)[0] != "C")
    joined = " ".join(kept.split())
    return joined if len(joined) <= limit else joined[: limit - 1] + "…"


def clean_or_none(text: str | None, limit: int = 200) -> str | None:
    """`clean`, with None where there is nothing to show."""
    return (clean(text, limit) or None) if text else None


def quote_text(text: str, limit: int = 200) -> str:
    """A value as a question shows it: “cleaned and cut”, where no character of its own can look like its end.

    Every run of quotes within becomes one apostrophe. Money never follows this text: what may hold a quote is a name.
    """
    shown = clean(text, limit)
    return "“" + re.sub("'+", "'", "".join("'" if _is_quote(c) else c for c in shown)) + "”"


def _is_quote(character: str) -> bool:
    # Neither letters that a name mentions a quote of, nor accents that stand over a letter.
    mark = unicodedata.category(character)[0] in "PS" or unicodedata.category(character) == "Lm"
    return mark and _QUOTE.search(unicodedata.name(character, "")) is not None


def status_label(text: str) -> str:
    """A status or the like as a sentence names it. What is no plain word is somebody's text, and named in none."""
    return text.replace("_", " ") if re.fullmatch(r"[A-Za-z_]{1,40}", text) else "one that is not known here"


def pluralize(number: int, noun: str, plural: str | None = None) -> str:
    """`1 card`, `2 cards`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def dollars(cents: int) -> str:
    """US cents as a person reads them: `$1,234.50`."""
    return f"${cents / 100:,.2f}"
