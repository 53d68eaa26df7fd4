"""Quote text from outside, so that a person can't take it for words of this server."""

from __future__ import annotations

import re

# Quotation marks (straight, curly, low, angled), and what looks like one: apostrophes, primes, accents, commas above.
# Written out like the ranges of redaction.characters, and excluding combining accents.
_QUOTES = (
    "[\"'`\xab\xb4\xbb\u02b9-\u02bd\u02ca\u02cb\u02ce\u02cf\u02dd\u02ee\u02f4-\u02f6\u055a\u05f3\u05f4\u07f4\u07f5"
    "\u2018-\u201f\u2032-\u2037\u2039\u203a\u2057\u275b-\u2760\u276e\u276f\u2e32\u2e41\u2e42\u3003\u301d-\u301f"
    "\uff02\uff07\uff40\U0001f676-\U0001f678]+"
)
# What a client that renders Markdown would not show as it is: emphasis, links, code, tags, escapes and addresses. An
# underscore inside a word is plain text. Each becomes its full-width form, which reads the same.
_MARKUP = re.compile(r"[*\[\]<~\\]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)|(?<=www)\.", re.IGNORECASE)
_WIDE = 0xFF01 - ord("!")


def quoted(text: str) -> str:
    """Put a text in “quotes” that nothing inside can appear to close: each run of quotes becomes one apostrophe."""
    return "“" + re.sub(_QUOTES, "'", text) + "”"


def without_markup(text: str) -> str:
    """Return a text that looks the same, and that no renderer of Markdown formats or links."""
    return _MARKUP.sub(lambda found: chr(ord(found[0]) + _WIDE), text)
