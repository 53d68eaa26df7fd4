"""Quote text from outside, so that a person can't take it for words of this server."""

from __future__ import annotations

import re

# Quotation marks (straight, curly, low, angled, corners), and what looks like one: apostrophes, primes, accents, commas
# above, and signs of other scripts. Written out like the ranges of redaction.characters.
_QUOTES = (
    "\"'`\xa8\xab\xb4\xbb\u02b9-\u02bd\u02ca\u02cb\u02ce\u02cf\u02dd\u02ee\u02f4-\u02f6\u0315\u0374\u0384\u0385\u055a\u055b"
    "\u055f\u05f3\u05f4\u07f4\u07f5\u1420\u1425\u1426\u1cd3\u1fbd\u1fbf\u1fcd-\u1fcf\u1fdd-\u1fdf\u1fed-\u1fef\u1ffd\u1ffe"
    "\u2018-\u201f\u2032-\u2037\u2039\u203a\u2057\u226a\u226b\u2329\u232a\u275b-\u2760\u276e\u276f\u27e8-\u27eb\u2cd9"
    "\u2e02-\u2e05\u2e09\u2e0a\u2e0c\u2e0d\u2e1c\u2e1d\u2e20\u2e21\u2e32\u2e41\u2e42\u3003\u3008-\u300f\u301d-\u301f"
    "\u309b\ua4fc\ua78b\ua78c\ufe41-\ufe44\uff02\uff07\uff40\uff62\uff63\U0001f676-\U0001f678"
)
# An accent that stands over no letter looks like a quotation mark.
_ACCENTS = "\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u3099\u309a\ufe20-\ufe2f"
QUOTE_RUN = f"(?:[{_QUOTES}]|(?<![\\w{_ACCENTS}])[{_ACCENTS}]+)+"
# What a client that renders Markdown would not show as it is: emphasis, links, code, tags, escapes, addresses and
# character references, which could close a quotation. An underscore inside a word is plain text. Each becomes its
# full-width form, which reads the same.
_MARKUP = re.compile(r"[*\[\]<~\\]|&(?=[#A-Za-z])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)|(?<=www)\.", re.IGNORECASE)
_WIDE = 0xFF01 - ord("!")


def quoted(text: str) -> str:
    """Put a text in “quotes” that nothing inside can appear to close: each run of quotes becomes one apostrophe."""
    return "“" + re.sub(QUOTE_RUN, "'", text) + "”"


def without_markup(text: str) -> str:
    """Return a text that looks the same, and that no renderer of Markdown formats or links."""
    return _MARKUP.sub(lambda found: chr(ord(found[0]) + _WIDE), text)
