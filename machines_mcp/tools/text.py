"""Clean and truncate text from outside, and format values for display."""

from __future__ import annotations

import re
import unicodedata

from machines_mcp.redaction.display import plain_amount
from machines_mcp.redaction.foreign_text import shortened
from machines_mcp.redaction.quoting import quoted
from machines_mcp.redaction.verbatim import Verbatim


def clean(text: str, limit: int = 200) -> str:
    """Return text from outside as it is shown, masked and then cut to `limit` characters.

    Money follows a `Verbatim`, so it is returned as it is.
    """
    return text if isinstance(text, Verbatim) else shortened(text, limit)


def quote_text(text: str, limit: int = 200) -> str:
    """Clean and cut a value, and put it in “quotes” that no character inside can appear to close."""
    return quoted(clean(text, limit))


def label_note(text: str) -> str | None:
    """Return a note if a label may not be read as it looks: a word mixes alphabets, or a letter imitates another."""
    words = re.findall(r"[^\W\d_]+", text)
    mixed = any(len({unicodedata.name(letter, "?").split()[0] for letter in word}) > 1 for word in words)
    # A label that was cut ends with an ellipsis, which imitates three dots.
    plain = text.replace("…", "")
    imitates = unicodedata.normalize("NFKC", plain) != unicodedata.normalize("NFC", plain)
    return "unusual characters: read the label letter by letter" if mixed or imitates else None


def status_label(text: str | None) -> str:
    """Format a status for a sentence. Anything but a plain word may be injected text and is not repeated."""
    return text.replace("_", " ") if text and re.fullmatch(r"[A-Za-z_]{1,40}", text) else "unrecognized"


def is_status(text: str | None) -> str:
    """Format a status as the verb of a sentence: `is active`."""
    label = status_label(text)
    return "has an unrecognized status" if label == "unrecognized" else f"is {label}"


def pluralize(number: int, noun: str, plural: str | None = None) -> str:
    """Format a number with its noun: `1 card`, `2 cards`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def range_text(least: float | None, most: float | None) -> str:
    """Format the bounds of an amount after its noun: `: at least 5, at most 1,000`; empty without bounds."""
    bounds = [f"at least {plain_amount(least)}"] if least is not None else []
    bounds += [f"at most {plain_amount(most)}"] if most is not None else []
    return f": {', '.join(bounds)}" if bounds else ""


def estimate(amount: float) -> str:
    """Format an estimated amount. More digits could pass for a card number, and say no more."""
    return plain_amount(round(amount, 8))
