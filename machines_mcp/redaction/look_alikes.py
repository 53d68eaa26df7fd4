"""Dates, UUIDs and hashes: they are full of digits, and a card number can be written to look like one.

One is accepted if its digits make sense: a date exists, a UUID has a version and a variant, a hash has letters. In
addition, a UUID or hash must not be a card number with filler.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]{1,9})?)?(?:Z|[+-](?:0[0-9]|1[0-4]):?[0-5][05])?"
DATE = rf"(?:19|20|21)[0-9]{{2}}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])(?:[T ]{_TIME})?"
"""The pattern of a date that exists, with or without a time."""
_DATES = re.compile(rf"(?<![0-9]){DATE}(?:[^0-9A-Za-zª]{{1,3}}{DATE})*+(?![0-9])")
UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}"
"""The pattern of a UUID with a version and a variant."""
_HASH = r"(?:0x)?[0-9a-fA-F]{20,1024}"
_IDS = re.compile(rf"(?<![0-9A-Za-z])(?:{UUID}|{_HASH})(?![0-9A-Za-z])")
_LETTER = re.compile(r"[a-fA-F]")
_ROW = re.compile(r"[0-9]{13,}")
# One in 70,000 random UUIDs has less than two letters.
_MIN_LETTERS, _MIN_LETTERS_IN_LONG = 2, 1
# The first digit of each group of a UUID but the first, without its dashes.
_GROUPS = frozenset({8, 12, 16, 20})
# Of sixteen random hex digits, 1.3 % have at most seven different ones, and 0.004 % at most five. A filler typed by
# hand has few. Inside groups, more rows of digits are judged, so the rule is stricter.
_MAX_FILLER_DIGITS, _MAX_FILLER_INSIDE, _LEAST_LONG = 7, 5, 32
Windows = Callable[[str], Iterable[tuple[int, int]]]


def find_look_alikes(text: str, windows: Windows) -> Iterator[tuple[int, int]]:
    """Yield the places of dates, UUIDs and hashes in a folded text, in order.

    `windows` returns the parts of a row of digits that could be a card number.
    """
    found = [found.span() for found in _DATES.finditer(text)]
    found += [found.span() for found in _IDS.finditer(text) if _is_id(found[0], windows)]
    yield from sorted(found)


def _is_id(token: str, windows: Windows) -> bool:
    bare = token.removeprefix("0x").replace("-", "")
    if len(_LETTER.findall(bare)) < (_MIN_LETTERS if len(bare) < _LEAST_LONG else _MIN_LETTERS_IN_LONG):
        return False
    inner = _GROUPS if "-" in token else frozenset[int]()
    for row in _ROW.finditer(bare):
        edges = {row.start(), row.end(), *inner}
        for window in windows(row[0]):
            start, end = (row.start() + place for place in window)
            if _is_filler(bare[:start] + bare[end:], len(bare), whole={start, end} <= edges):
                return False
    return True


def _is_filler(filler: str, length: int, *, whole: bool) -> bool:
    """Whether the rest of a token may be there only to hide a card number. That of a short token tells too little."""
    return length < _LEAST_LONG or len(set(filler)) <= (_MAX_FILLER_DIGITS if whole else _MAX_FILLER_INSIDE)
