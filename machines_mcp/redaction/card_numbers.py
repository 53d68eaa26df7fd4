"""Card numbers: issuer ranges, the check digit, and finding them in text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from machines_mcp.redaction.encodings import folded
from machines_mcp.redaction.luhn import passes_luhn

SHORTEST, MAX_USUAL, LONGEST = 13, 16, 19

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


# Spaces, dashes, dots and invisible characters that people and forms put between the digits of a card number.
_BETWEEN = r"[ ._\-\u00a0\u00ad\u00b7\u2000-\u2015\u202f\u2060\u2212\u3000\ufeff]{1,3}"
_DIGITS = re.compile(rf"\d(?:(?:{_BETWEEN})?\d){{{SHORTEST - 1},}}")
_GROUP = re.compile(r"\d+")
# Digits that are not a card number: dates with times, UUIDs, hex with a 0x prefix (unless all of it could be a card
# number), and hex too long to be one.
_NO_CARD = re.compile(
    r"(?<!\d)\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})?)?(?!\d)"
    r"|(?<![0-9a-zA-Z])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9a-zA-Z])"
    r"|(?<![0-9a-zA-Z])0x(?!\d{13,19}(?![0-9a-fA-F]))[0-9a-fA-F]+"
    r"|(?<![0-9a-zA-Z])(?=\d*[a-fA-F])[0-9a-fA-F]{32,}(?![0-9a-zA-Z])"
)
is_no_card = _NO_CARD.fullmatch
"""Match a text that is a date, a UUID or hex as a whole: it has many digits but is never a card number."""
MAX_GROUPS = 6


def is_card_number(digits: str) -> bool:
    """Whether these ASCII digits could be a card number, by issuer, length and Luhn check."""
    return _has_issuer(digits) and passes_luhn(digits.encode())


class Found(NamedTuple):
    """The position of a card number in a text. `last4` is empty if the last four digits are ambiguous."""

    start: int
    end: int
    last4: str


def find_cards(text: str) -> list[Found]:
    """Return the card numbers in a text, in order."""
    blanked = _NO_CARD.sub(lambda found: "#" * len(found[0]), text)
    return [card for run in _DIGITS.finditer(blanked) for card in _in_run(blanked, run.start(), run.end())]


def _in_run(text: str, start: int, end: int) -> Iterator[Found]:
    """Yield the card numbers in a run of digits with separators: whole groups, or one end of an overlong group."""
    groups = [found.span() for found in _GROUP.finditer(text, start, end)]
    first = 0
    while first < len(groups):
        card = _of_groups(text, groups, first) or _in_group(text, *groups[first])
        if card is None:
            first += 1
            continue
        yield card
        first = next((n for n in range(first, len(groups)) if groups[n][0] >= card.end), len(groups))


def _of_groups(text: str, groups: list[tuple[int, int]], first: int) -> Found | None:
    """Return the card number that starts with this group: one of the usual length, or the longest of several groups."""
    best, total, start = None, 0, groups[first][0]
    for last in range(first, len(groups)):
        end = groups[last][1]
        total += end - groups[last][0]
        if total > LONGEST:
            break
        usual = total == MAX_USUAL
        alone = last == first and not usual
        if total < SHORTEST or alone or not _is_laid_out(groups[first : last + 1]):
            continue
        digits = _ascii_digits(text[start:end])
        if is_card_number(digits):
            best = Found(start, end, digits[-4:])
            if usual:
                # The next group is the security code or the expiry date.
                break
    return best


def _in_group(text: str, start: int, end: int) -> Found | None:
    """Return a card number without separators, also at either end of a group that includes a code or a date."""
    digits = _ascii_digits(text[start:end])
    parts = [digits[:length] for length in (MAX_USUAL, 15)] + [digits[-length:] for length in (MAX_USUAL, 15)]
    inner = next((part for part in parts if is_card_number(part)), None) if len(digits) > MAX_USUAL else None
    if is_card_number(digits):
        return Found(start, end, "" if inner else digits[-4:])
    return Found(start, end, inner[-4:]) if inner else None


def _is_laid_out(groups: list[tuple[int, int]]) -> bool:
    """Whether the groups could be one number. A long row of small numbers is not one."""
    lengths = [end - start for start, end in groups]
    return len(groups) <= MAX_GROUPS or (len(set(lengths[:-1])) == 1 and lengths[-1] <= lengths[0])


def _ascii_digits(text: str) -> str:
    plain = text if text.isascii() else folded(text)
    return "".join(c for c in plain if "0" <= c <= "9")


def _has_issuer(digits: str) -> bool:
    length = len(digits)
    return any(low <= digits[: len(low)] <= high and length in lengths for low, high, lengths in _ISSUERS)
