"""Card numbers: issuer ranges, the check digit, and finding them in text."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import NamedTuple

from machines_mcp.redaction.folding import FOREIGN, FoldedText, readings
from machines_mcp.redaction.look_alikes import find_look_alikes
from machines_mcp.redaction.luhn import passes_luhn

SHORTEST, USUAL = 13, 16

# First and last prefix of an issuer's range, and its card number lengths.
_ISSUERS: tuple[tuple[str, str, frozenset[int]], ...] = (
    ("4", "4", frozenset({13, 16, 18, 19})),  # Visa
    ("51", "55", frozenset({16})),  # Mastercard
    ("2221", "2720", frozenset({16})),
    ("34", "34", frozenset({15})),  # American Express
    ("37", "37", frozenset({15})),
    ("300", "305", frozenset({14, 16, 19})),  # Diners Club
    ("3095", "3095", frozenset({14, 16, 19})),
    ("36", "36", frozenset({14, 16, 19})),
    ("38", "39", frozenset({14, 16, 19})),
    ("3528", "3589", frozenset({16, 17, 18, 19})),  # JCB
    ("6011", "6011", frozenset({16, 17, 18, 19})),  # Discover
    ("644", "659", frozenset({16, 17, 18, 19})),
    ("62", "62", frozenset({16, 17, 18, 19})),  # UnionPay
    ("81", "82", frozenset({16, 17, 18, 19})),
    ("2200", "2204", frozenset({16, 17, 18, 19})),  # Mir
    ("60", "60", frozenset({16})),  # RuPay
    ("508", "508", frozenset({16})),
    ("9792", "9792", frozenset({16})),  # Troy
    ("5018", "5020", frozenset(range(13, 20))),  # Maestro
    ("5038", "5038", frozenset(range(13, 20))),
    ("5612", "5612", frozenset(range(13, 20))),
    ("5893", "5893", frozenset(range(13, 20))),
    ("6304", "6304", frozenset(range(13, 20))),
    ("6390", "6390", frozenset(range(13, 20))),
    ("6759", "6763", frozenset(range(13, 20))),
)
_PREFIX = 4
_DOUBLED = tuple(digit * 2 - 9 * (digit > 4) for digit in range(10))

# Between the digits of a number can be blanks, up to three marks, or the T of a date with a time.
_MARK = rf"[^0-9A-Za-z{FOREIGN}\s]"
_RUN = re.compile(rf"[0-9]++(?:(?:[Tt](?=[0-9])|\s*+(?:{_MARK}\s*+){{0,3}}+)[0-9]++)*+")
_LONG_ROW = re.compile(rf"[0-9]{{{SHORTEST},}}")
# The most digits of another reading that may stay visible: as many as of a masked number.
_MAX_LEFT = 4
# The mean number of digits in the groups of a number.
_LEAST_GROUP = 3


def is_card_number(digits: str) -> bool:
    """Whether these ASCII digits could be a card number, by issuer, length and Luhn check."""
    return len(digits) in _lengths(digits[:_PREFIX]) and passes_luhn(digits.encode())


class Found(NamedTuple):
    """The position of a card number in a text. `last4` is empty if the last four digits are ambiguous."""

    start: int
    end: int
    last4: str


class _Window(NamedTuple):
    """A row of a run's digits that could be a card number."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


def find_cards(text: str) -> list[Found]:
    """Return the card numbers in a text, in order. Those of different readings may overlap."""
    return sorted(
        {
            Found(*reading.span(card.start, card.end), card.last4)
            for reading in readings(FoldedText(text))
            for card in find_in_folded(reading.plain)
        }
    )


def find_in_folded(plain: str) -> list[Found]:
    """Return the card numbers in a folded text, in order."""
    return [card for run in _runs(plain) for card in run.cards()]


def may_hold_card(token: str) -> bool:
    """Whether digits of a token, read without its dashes, could be a card number, even as part of a longer number."""
    return any(_windows(row) for row in _LONG_ROW.findall(token.replace("-", "")))


def has_whole_card(plain: str) -> bool:
    """Whether a folded text has a card number that is not part of a longer number."""
    return any(run.has_whole() for run in _runs(plain))


def _runs(plain: str) -> list[_Run]:
    runs = [run for run in _RUN.finditer(plain) if run.end() - run.start() >= SHORTEST]
    look_alikes = list(find_look_alikes(plain, _windows)) if runs else []
    return [_Run(run, look_alikes) for run in runs]


class _Run:
    """A row of digits with separators."""

    def __init__(self, run: re.Match[str], look_alikes: list[tuple[int, int]]) -> None:
        self._places = [run.start() + at for at, c in enumerate(run[0]) if "0" <= c <= "9"]
        self._digits = "".join(c for c in run[0] if "0" <= c <= "9")
        self._look_alikes = look_alikes
        apart = [at + 1 for at, (one, next_) in enumerate(pairwise(self._places)) if next_ > one + 1]
        if (len(apart) + 1) * _LEAST_GROUP > len(self._digits):
            # Groups this short don't show where a number begins or ends.
            apart = []
        self._starts, self._ends = [0, *apart], [*apart, len(self._digits)]

    def has_whole(self) -> bool:
        """Whether some whole groups of digits could be a card number."""
        return bool(self._whole(self._judged()))

    def cards(self) -> Iterator[Found]:
        """Yield the card numbers: whole groups first, then other readings of the digits that are left."""
        windows = self._judged()
        if not windows:
            return
        whole = self._whole(windows)
        found = [self._found(window, self._last4(window, windows)) for window in whole]
        found += self._other_readings(windows, whole)
        yield from sorted(found)

    def _judged(self) -> list[_Window]:
        return [window for window in _windows(self._digits) if not self._is_look_alike(window)]

    def _is_look_alike(self, window: _Window) -> bool:
        start, end = self._places[window.start], self._places[window.end - 1] + 1
        at = bisect_right(self._look_alikes, start, key=itemgetter(0)) - 1
        return at >= 0 and end <= self._look_alikes[at][1]

    def _whole(self, windows: list[_Window]) -> list[_Window]:
        """Return the windows of whole groups: from each start, one of the usual length or else the longest."""
        starts, ends = set(self._starts), set(self._ends)
        aligned = [window for window in windows if window.start in starts and window.end in ends]
        # After a number of the usual length comes its security code or expiry date.
        aligned.sort(key=lambda window: (window.start, window.length != USUAL, -window.length))
        chosen: list[_Window] = []
        for window in aligned:
            if not chosen or window.start >= chosen[-1].end:
                chosen.append(window)
        return chosen

    def _other_readings(self, windows: list[_Window], whole: list[_Window]) -> Iterator[Found]:
        """Yield what would be left to read of numbers that begin or end elsewhere, extended to whole groups."""
        hidden, left = bytearray(len(self._digits)), bytearray(len(self._digits))
        for window in whole:
            hidden[window.start : window.end] = b"\1" * window.length
        others = [window for window in windows if window.length - sum(hidden[window.start : window.end]) > _MAX_LEFT]
        for window in others:
            left[window.start : window.end] = b"\1" * window.length
        for start, end in zip(self._starts, self._ends, strict=True):
            if any(left[start:end]):
                left[start:end] = b"\1" * (end - start)
        usual = [each for each in others if each.length == USUAL]
        for stretch in re.finditer(rb"\x01+", bytes(a & ~b for a, b in zip(left, hidden, strict=True))):
            inside = usual[bisect_left(usual, stretch.span()[:1]) : bisect_left(usual, (stretch.end(),))]
            alone = len(inside) == 1 and inside[0].end <= stretch.end()
            last4 = self._digits[inside[0].end - 4 : inside[0].end] if alone else ""
            yield self._found(_Window(*stretch.span()), last4)

    def _last4(self, window: _Window, windows: list[_Window]) -> str:
        """Return the last four digits, unless a longer number may be one of the usual length with a code or a date."""
        inside = windows[bisect_left(windows, (window.start,)) : bisect_left(windows, (window.end,))]
        inner = any(each.end <= window.end and each.length in (USUAL, USUAL - 1) for each in inside)
        return "" if inner and window.length > USUAL else self._digits[window.end - 4 : window.end]

    def _found(self, window: _Window, last4: str) -> Found:
        return Found(self._places[window.start], self._places[window.end - 1] + 1, last4)


def _windows(digits: str) -> list[_Window]:
    """Return each row of 13 to 19 digits that could be a card number. Takes time in proportion to the digits."""
    if len(digits) < SHORTEST:
        return []
    values = [int(digit) for digit in digits]
    # Sums of the digits before each place, with every second digit doubled: those at odd or at even places.
    sums = [
        [0, *accumulate(_DOUBLED[value] if at % 2 == odd else value for at, value in enumerate(values))]
        for odd in (0, 1)
    ]
    return [
        _Window(start, start + length)
        for start in range(len(digits) - SHORTEST + 1)
        for length in _lengths(digits[start : start + _PREFIX])
        if start + length <= len(digits)
        # The last digit is never doubled.
        and (sums[(start + length) % 2][start + length] - sums[(start + length) % 2][start]) % 10 == 0
    ]


@lru_cache(10_000)
def _lengths(prefix: str) -> tuple[int, ...]:
    """Return the lengths of the card numbers that begin with these four digits."""
    found = {length for low, high, lengths in _ISSUERS if low <= prefix[: len(low)] <= high for length in lengths}
    return tuple(sorted(found))
