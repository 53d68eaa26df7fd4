"""Detect likely card numbers, security codes and national ids in text, by their form and context."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from machines_mcp.redaction.card_numbers import SHORTEST, find_cards, is_no_card
from machines_mcp.redaction.encodings import folded, has_escapes, unescaped

HIDDEN = "•••"
# How many characters around a card number are searched for a security code.
NEAR = 40

_SHORT_NUMBER = re.compile(r"(?<![\d•])\d{3,4}(?!\d)")
_CODE_NAME = r"\b(?:cvc2?|cvv2?|csc|card\W?(?:verification|security)\W?(?:code|value|number)|security\W?code)\b"
_ID_NAME = r"\b(?:ssn|itin|social\W?security(?:\W?(?:number|no))?|national\W?id(?:entifier)?|tax\W?id)\b"
_NAMED_CODE = re.compile(_CODE_NAME + r"\D{0,20}(?P<number>\d{3,4})(?!\d)", re.IGNORECASE)
_NAMED_ID = re.compile(_ID_NAME + r"\D{0,20}(?P<number>\d{9}|\d{3}[ .-]\d{2}[ .-]\d{4})(?!\d)", re.IGNORECASE)
_SOCIAL_SECURITY = re.compile(
    r"(?<![0-9A-Za-z-])(?P<number>\d{3}[-\u2010-\u2015]\d{2}[-\u2010-\u2015]\d{4})(?![0-9A-Za-z-])"
)
_CONTEXT = (_NAMED_CODE, _NAMED_ID, _SOCIAL_SECURITY)

_CODE_KEY = re.compile(
    r"(?:card)?(?:cvc2?|cvv2?|csc|securitycode|verificationcode|verificationvalue)(?:number|code|value)?"
)
_ID_KEY = re.compile(
    r"(?:ssn|itin|tin|socialsecurity|nationalid|nationalidentifier|taxid|taxpayerid|idnumber)(?:number|no)?"
)
_NOT_IN_KEYS = re.compile(r"[^a-z0-9]")
_NATIONAL_ID = re.compile(r"\d{9}|\d{3}[ .\-\u2010-\u2015]\d{2}[ .\-\u2010-\u2015]\d{4}")
THREE_DIGITS = re.compile(r"\d\D{0,3}\d\D{0,3}\d")
"""No rule matches a text without three digits close to each other."""


def _kind(character: str) -> int:
    if "0" <= character <= "9":
        return ord("0")
    if character.isascii() and character.isalpha():
        return ord("a")
    return ord(":" if character == ":" else " ")


# Maps each character to its kind: digit, letter, colon, or a space for anything else.
_KINDS = bytes(_kind(chr(byte)) for byte in range(256))
_NINE = re.compile(rb"(?<![0a])0{9}(?![0a])")
_NAMES_OF_CODES = (
    *(b"cvc", b"cvv", b"csc", b"securitycode", b"securityvalue", b"securitynumber"),
    *(b"verificationcode", b"verificationvalue", b"verificationnumber"),
)
_NAMES_OF_IDS = (b"ssn", b"itin", b"socialsecurity", b"nationalid", b"taxid")


def needs_full_search(line: str, plain: bytes) -> bool:
    """Whether a line of JSON needs the full search; `plain` is the line squeezed. False means that no rule matches.

    Cheaper and broader than the rules: 13 digits without a letter between, 3-2-4, nine alone or with an id's name, or a
    code's name.
    """
    if has_escapes(line) or any(name in plain for name in _NAMES_OF_CODES):
        return True
    kinds = folded(line).encode("ascii").translate(_KINDS)
    if b"000 00 0000" in kinds or b"0" * SHORTEST in kinds.translate(None, b" "):
        return True
    if b"0" * 9 not in kinds:
        return False
    return _NINE.search(kinds) is not None or any(name in plain for name in _NAMES_OF_IDS)


def masked_text(text: str) -> str:
    """Return the text with card numbers, security codes and national ids masked."""
    # Too few digits for a card number, and no name or separator for another rule.
    if not THREE_DIGITS.search(text) or (len(text) < SHORTEST and text.isdecimal()):
        return text
    if has_escapes(text):
        read = unescaped(text)
        if read != text and masked_text(read) != read:
            # Finding its place in the escaped text is not worth the effort, so hide all of it.
            return HIDDEN
    if is_no_card(text):
        return text
    cards = find_cards(text)
    spans = [(card.start, card.end, f"•••• {card.last4}".rstrip()) for card in cards]
    spans += [(*span, HIDDEN) for card in cards for span in _codes_near(text, card.start, card.end)]
    spans += [(*found.span("number"), HIDDEN) for rule in _CONTEXT for found in rule.finditer(text)]
    return _replaced(text, spans) if spans else text


def masked_texts(texts: Iterable[str], exempt: Collection[str] = ()) -> list[str]:
    """Return each text masked, except those that contain one of the `exempt` parts."""
    return [text if any(part in text for part in exempt) else masked_text(text) for text in texts]


def _codes_near(text: str, start: int, end: int) -> list[tuple[int, int]]:
    low, high = max(0, start - NEAR), end + NEAR
    return [found.span() for found in _SHORT_NUMBER.finditer(text, low, high) if not start <= found.start() < end]


def _replaced(text: str, spans: list[tuple[int, int, str]]) -> str:
    """Replace the spans. Of overlapping spans the first wins, and the longest if they start together."""
    parts, at = [], 0
    for start, end, instead in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= at:
            parts += [text[at:start], instead]
            at = end
    return "".join([*parts, text[at:]])


def masked_field(name: str, value: str) -> str:
    """Return a field's value masked: all of it if the name says that it is secret."""
    return HIDDEN if is_sensitive_field(name, value) else masked_text(value)


def is_sensitive_field(key: str, value: str) -> bool:
    """Whether a field with this name and value holds a security code or a national id."""
    match kind_of_field(key):
        case "code":
            return is_code(value)
        case "id":
            return _NATIONAL_ID.fullmatch(value) is not None
        case _:
            return False


def is_code(value: str) -> bool:
    """Whether the value is three or four digits and nothing else."""
    return 3 <= len(value) <= 4 and value.isdecimal()


@lru_cache(1024)
def kind_of_field(key: str) -> str:
    """Return what a field's name says that it holds: `code`, `id`, or nothing."""
    plain = _NOT_IN_KEYS.sub("", folded(key).lower())
    if _CODE_KEY.fullmatch(plain):
        return "code"
    return "id" if _ID_KEY.fullmatch(plain) else ""
