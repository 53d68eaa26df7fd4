"""Find a user's identity data in text from outside, after this process has sent it to Machines.

Machines may repeat in any text what a person typed. This module remembers keyed digests of the values, not the values,
and only in memory. It finds whole values in plain writing, whatever their case, accents and separators.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from hashlib import blake2b
from urllib.parse import unquote

HIDDEN = "•••"
MAX_USERS = 1_000
# A value of one or two characters, such as the code of a state, is part of any text.
_SHORTEST = 3
_WORD = re.compile(r"[^\W_]+")
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)


@dataclass(frozen=True, slots=True)
class _Known:
    """The digests of a user's values, and the lengths of the values."""

    digests: set[bytes] = field(default_factory=set)
    lengths: set[int] = field(default_factory=set)


class IdentityEchoes:
    """The identity data that was sent for each user, as digests with a key of this process."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._known: dict[str, _Known] = {}

    def remember(self, user_id: str, values: Iterable[str]) -> None:
        """Find these values of a user from now on, until the process ends or a thousand other users came."""
        plain = {_joined(writing) for value in values for writing in _writings(value)}
        known = self._known.pop(user_id, _Known())
        known.digests.update(self._digest(text) for text in plain if len(text) >= _SHORTEST)
        known.lengths.update(len(text) for text in plain)
        self._known[user_id] = known
        while len(self._known) > MAX_USERS:
            del self._known[next(iter(self._known))]

    def found_in(self, user_id: str, text: str) -> bool:
        """Whether a text, or a link when decoded, contains one of the user's values."""
        return any(True for _ in self._places(user_id, text)) or any(True for _ in self._places(user_id, unquote(text)))

    def masked(self, user_id: str, text: str) -> str:
        """Return the text with the user's values masked."""
        parts, at = [], 0
        for start, end in self._places(user_id, text):
            parts += [text[at:start], HIDDEN]
            at = end
        return "".join([*parts, text[at:]])

    def _places(self, user_id: str, text: str) -> Iterator[tuple[int, int]]:
        """Yield the places of values, from left to right and the longest first."""
        known = self._known.get(user_id)
        if known is None or not known.digests:
            return
        words = [(*found.span(), _joined(found[0])) for found in _WORD.finditer(text)]
        at, most = 0, max(known.lengths)
        while at < len(words):
            row, end = "", at
            for last in range(at, len(words)):
                row += words[last][2]
                if len(row) > most:
                    break
                if len(row) in known.lengths and self._digest(row) in known.digests:
                    end = last + 1
            if end > at:
                yield words[at][0], words[end - 1][1]
            at = max(end, at + 1)

    def _digest(self, text: str) -> bytes:
        return blake2b(text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=16).digest()


def _joined(text: str) -> str:
    """Return the letters and digits of a text without accents and case, all in one word."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(c for c in plain if c.isalnum())


def _writings(value: str) -> Iterator[str]:
    """Yield a value, and a date in the usual orders."""
    yield value
    try:
        born = date.fromisoformat(value)
    except ValueError:
        return
    month = _MONTHS[born.month - 1]
    for day, number in ((f"{born.day}", f"{born.month}"), (f"{born.day:02}", f"{born.month:02}")):
        for name in (number, month, month[:3]):
            yield from (f"{born.year}{name}{day}", f"{day}{name}{born.year}", f"{name}{day}{born.year}")
