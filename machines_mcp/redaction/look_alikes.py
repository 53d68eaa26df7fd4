"""Dates, UUIDs and hashes: they are full of digits, and a card number can be written to look like one.

One is accepted if its digits make sense: a date exists, a UUID has a version and a variant, a hash has letters. In
addition, a UUID or hash must not be a card number with filler.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]{1,9})?)?(?:Z|[+-](?:0[0-9]|1[0-4]):?[0-5][05])?"
DATE = rf"(?:19|20|21)[0-9]{{2}}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])(?:[T ]{_TIME})?"
"""The pattern of a date that exists, with or without a time."""
_DATES = re.compile(rf"(?<![0-9]){DATE}(?:[^0-9A-Za-zª]{{1,3}}{DATE})*+(?![0-9])")
_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}"
_HASH = r"(?:0x)?[0-9a-fA-F]{20,1024}"
_IDS = re.compile(rf"(?<![0-9A-Za-z])(?:{_UUID}|{_HASH})(?![0-9A-Za-z])")
_LETTER = re.compile(r"[a-fA-F]")
_GROUPED = re.compile(r"[0-9]+(?:-[0-9]+)*")
_MIN_LETTERS = 2
# Of sixteen random hex digits, 1.3 % have at most seven different ones. A filler typed by hand has few.
_MAX_FILLER_DIGITS, _LEAST_LONG = 7, 32


def find_look_alikes(text: str, is_card: Callable[[str], bool]) -> Iterator[tuple[int, int]]:
    """Yield the places of dates, UUIDs and hashes in a folded text, in order. `is_card` judges a row of digits."""
    found = [found.span() for found in _DATES.finditer(text)]
    found += [found.span() for found in _IDS.finditer(text) if _is_id(found[0], is_card)]
    yield from sorted(found)


def _is_id(token: str, is_card: Callable[[str], bool]) -> bool:
    if len(_LETTER.findall(token)) < _MIN_LETTERS:
        return False
    bare = token[2:] if token.startswith("0x") else token
    return not any(is_card(row) and _is_filler(filler, bare) for row, filler in _rows(bare))


def _is_filler(filler: str, token: str) -> bool:
    """Whether the rest of a token may be there only to hide a card number. That of a short token tells too little."""
    return len(token) < _LEAST_LONG or len(set(filler) - {"-"}) <= _MAX_FILLER_DIGITS


def _rows(token: str) -> Iterator[tuple[str, str]]:
    """Yield each row of digits between letters, and of whole groups, with the rest of the token."""
    for found in _GROUPED.finditer(token):
        groups = found[0].split("-")
        for first in range(len(groups)):
            for last in range(first, len(groups)):
                row = "-".join(groups[first : last + 1])
                start = found.start() + len("-".join(groups[:first])) + (first > 0)
                yield row.replace("-", ""), token[:start] + token[start + len(row) :]
