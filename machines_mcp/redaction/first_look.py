"""A cheap first look at a text: one pattern recognizes most of those that have nothing to mask."""

from __future__ import annotations

import re

# The last two are the ends of security and verification, with which the long names of codes begin.
_NAMES_OF_CODES = "cvc|cvv|csc|rity|tion"
# Printable ASCII without digits and without the characters that begin an escape: % & and a backslash.
_OTHERS = r"[ -$'-/:-\[\]-~]*+"
_MOST_DIGITS = 8
# The digits are counted first, because most texts with something to mask have more of them.
_NOTHING = re.compile(
    rf"(?=(?:{_OTHERS}[0-9]){{0,{_MOST_DIGITS}}}+{_OTHERS}\Z)(?!.*?(?:{_NAMES_OF_CODES}))", re.ASCII | re.IGNORECASE
)
# Longer texts are rare, and the names would have to be looked for at each of their characters.
_LONGEST = 200


def has_nothing_to_mask(text: str) -> bool:
    """Whether no rule can match the text: it is plain ASCII with too few digits for an id, and no code's name."""
    return len(text) <= _LONGEST and _NOTHING.match(text) is not None
