"""Detect likely card numbers, security codes and national ids in text, by their form and context.

All rules read the folded text, so no script or style of a digit hides a number.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache

from machines_mcp.redaction.card_numbers import SHORTEST, Found, find_in_folded, has_whole_card, may_hold_card
from machines_mcp.redaction.encodings import has_escapes, unescaped
from machines_mcp.redaction.first_look import has_nothing_to_mask
from machines_mcp.redaction.folding import FoldedText, folded, readings
from machines_mcp.redaction.look_alikes import DATE, UUID

HIDDEN = "•••"
# How many characters around a card number are searched for a security code.
NEAR = 40

_SHORT_NUMBER = re.compile(r"(?<![0-9])[0-9]{3,4}(?![0-9])")
# Not between \b: digits, underscores and foreign letters may stand beside a name.
# The 2 of cvc2123 may be the first digit of the code.
_CODE_NAME = (
    r"(?<![a-z])(?:cv[cv](?:2(?![0-9]{3}(?![0-9])))?|csc"
    r"|card\W?(?:verification|security)\W?(?:code|value|number)|security\W?code)(?![a-z])"
)
_ID_NAME = r"(?<![a-z])(?:ssn|itin|social\W?security(?:\W?(?:number|no))?|national\W?id(?:entifier)?|tax\W?id)(?![a-z])"
_ID = r"[0-9]{9}|[0-9]{3}[ .-][0-9]{2}[ .-][0-9]{4}"
_NAMED_CODE = re.compile(_CODE_NAME + r"[^0-9]{0,20}(?P<number>[0-9]{3,4})(?![0-9])", re.IGNORECASE)
_NAMED_ID = re.compile(_ID_NAME + rf"[^0-9]{{0,20}}(?P<number>{_ID})(?![0-9])", re.IGNORECASE)
_SOCIAL_SECURITY = re.compile(r"(?<![0-9A-Za-z-])(?P<number>[0-9]{3}-[0-9]{2}-[0-9]{4})(?![0-9A-Za-z-])")
_CONTEXT = (_NAMED_CODE, _NAMED_ID, _SOCIAL_SECURITY)

# A course “CSC 101” or a year “CVC 2026” looks like a code, and in other texts it is one. So a label can't have it.
_SHORT_NAMES = ("CVC", "CVV", "CSC")
_CODE_RULE = (
    "must not have a number of 3 or 4 digits soon after {}, because that reads like a card's security code;{} leave"
    " that number out"
)
_SPELL_OUT = " write the abbreviation out (as in Computer Science 101), or"

_CODE_KEY = re.compile(
    r"(?:card)?(?:cvc2?|cvv2?|csc|securitycode|verificationcode|verificationvalue)(?:number|code|value)?"
)
_ID_KEY = re.compile(
    r"(?:ssn|itin|tin|socialsecurity|nationalid|nationalidentifier|taxid|taxpayerid|idnumber)(?:number|no)?"
)
_NOT_IN_KEYS = re.compile(r"[^a-z0-9]")
_NATIONAL_ID = re.compile(_ID)
_CODE = re.compile(r"[0-9]{3,4}")
_THREE_DIGITS = re.compile(r"(?:[0-9][^0-9]*+){3}")
# A date and a UUID that are whole strings of a line. An escaped quote may be inside a string.
_DATE_VALUE = re.compile(rf'(?<!\\)"{DATE}(?=")')
_UUID_VALUE = re.compile(rf'(?<!\\)"{UUID}(?=")')


def _kind(character: str) -> int:
    if "0" <= character <= "9":
        return ord("0")
    # The T of a date with a time does not part two numbers.
    return ord("t" if character in "Tt" else "a" if character.isascii() and character.isalpha() else " ")


# Maps each character to its kind: digit, letter, the letter T, or a space for anything else.
_KINDS = bytes(_kind(chr(byte)) for byte in range(256))
_NINE = re.compile(rb"(?<![0at])0{9}(?![0at])")
_T = re.compile(rb"(?<=0)t(?=0)")
_NINE_DIGITS = b"0" * 9
# The bytes that don't part two digits.
_PARTING = bytes(byte for byte in range(256) if _KINDS[byte] in b" t")
_NAMES_OF_IDS = (b"ssn", b"itin", b"socialsecurity", b"nationalid", b"taxid")


def needs_full_search(line: str, plain: bytes) -> bool:
    """Whether a line of JSON needs the full search; `plain` is the line squeezed. False means that no rule matches.

    Cheaper and broader than the rules: 13 digits without a letter between, 3-2-4, nine alone or with an id's name, or a
    code's name.
    """
    if has_escapes(line) or _names_code(plain):
        return True
    if line.isascii() and _NINE_DIGITS not in line.encode("ascii").translate(_KINDS, _PARTING):
        # Every rule about digits needs nine that no letter parts.
        return False
    rest = _DATE_VALUE.sub('"', line)
    kinds = _kinds(rest)
    if b"000 00 0000" in kinds:
        return True
    # One in fifty random UUIDs has thirteen digits in a row, and one in a thousand what could be a card number there.
    if _has_long_row(kinds) and _has_long_row(_kinds(_UUID_VALUE.sub(_without_harmless_id, rest))):
        return True
    if b"0" * 9 not in kinds:
        return False
    return _NINE.search(kinds) is not None or any(name in plain for name in _NAMES_OF_IDS)


def _kinds(text: str) -> bytes:
    return folded(text, marks=True).encode("ascii").translate(_KINDS)


def _has_long_row(kinds: bytes) -> bool:
    """Whether as many digits as a card number has follow each other without a letter between."""
    return b"0" * SHORTEST in _T.sub(b"", kinds).translate(None, b" ")


def _without_harmless_id(found: re.Match[str]) -> str:
    return found[0] if may_hold_card(found[0]) else '"'


def _names_code(plain: bytes) -> bool:
    """Whether a squeezed text contains the name of a security code."""
    if b"cvc" in plain or b"cvv" in plain or b"csc" in plain:
        return True
    long = [name for name in (b"security", b"verification") if name in plain]
    return any(name + kind in plain for name in long for kind in (b"code", b"value", b"number"))


def has_three_digits(text: str) -> bool:
    """Whether the text has three digits. Without them, no rule matches."""
    return _THREE_DIGITS.search(text if text.isascii() else FoldedText(text).plain) is not None


def masked_text(text: str) -> str:
    """Return the text with card numbers, security codes and national ids masked."""
    return text if has_nothing_to_mask(text) else masked_by_rules(text)


def masked_by_rules(text: str) -> str:
    """Return what `masked_text` does, without its first look."""
    first = FoldedText(text)
    if not _THREE_DIGITS.search(first.plain):
        return text
    if has_escapes(text):
        read = unescaped(text)
        if read != text and masked_text(read) != read:
            # Finding its place in the escaped text is not worth the effort, so hide all of it.
            return HIDDEN
    spans = [span for reading in readings(first) for span in _spans(reading)]
    return _replaced(text, spans) if spans else text


def _spans(reading: FoldedText) -> Iterator[tuple[int, int, str]]:
    """Yield the parts of the original text to replace, with what replaces them."""
    plain = reading.plain
    cards = find_in_folded(plain)
    spans = [(card.start, card.end, f"•••• {card.last4}".rstrip()) for card in cards]
    spans += [(*span, HIDDEN) for card in cards for span in _codes_near(plain, card)]
    spans += [(*found.span("number"), HIDDEN) for rule in _CONTEXT for found in rule.finditer(plain)]
    for start, end, instead in spans:
        yield (*reading.span(start, end), instead)


def checked_unmasked(text: str) -> str:
    """Return the text unchanged; a validator of pydantic.

    Raises:
        PydanticCustomError: It would be masked.
    """
    if masked_text(text) != text:
        from pydantic_core import PydanticCustomError

        raise PydanticCustomError("machines_rule", "{rule}", {"rule": _mask_rule(text)})
    return text


def _mask_rule(text: str) -> str:
    """Return the rule that a text to be masked breaks, with what to write instead, and nothing of the text."""
    for plain in (reading.plain for reading in readings(FoldedText(text))):
        if code := _NAMED_CODE.search(plain):
            short = next((name for name in _SHORT_NAMES if code[0].upper().startswith(name)), None)
            return _CODE_RULE.format(short or "the name of that code", _SPELL_OUT if short else "")
        if _NAMED_ID.search(plain) or _SOCIAL_SECURITY.search(plain):
            return "must not contain a number that reads like a national id; leave that number out"
        if find_in_folded(plain):
            return "must not contain a number that could be a card number; leave that number out"
    return "must not contain a card number, a security code or a national id"


def is_sensitive_id(value: str) -> bool:
    """Whether an id is a card number in whole groups of its digits, or a national id by its form.

    Longer numbers that contain a card number by chance are accepted, because an id can't be altered.
    """
    plains = [reading.plain for reading in readings(FoldedText(unescaped(value)))]
    return any(has_whole_card(plain) or _SOCIAL_SECURITY.search(plain) is not None for plain in plains)


def masked_texts(texts: Iterable[str], exempt: Collection[str] = ()) -> list[str]:
    """Return each text masked, except those that contain one of the `exempt` parts."""
    return [text if any(part in text for part in exempt) else masked_text(text) for text in texts]


def _codes_near(plain: str, card: Found) -> list[tuple[int, int]]:
    low, high = max(0, card.start - NEAR), card.end + NEAR
    found = [found.span() for found in _SHORT_NUMBER.finditer(plain, low, high)]
    return [span for span in found if not card.start <= span[0] < card.end]


def _replaced(text: str, spans: list[tuple[int, int, str]]) -> str:
    """Replace the spans. Of overlapping spans the first wins, and the longest if they start together."""
    parts, at = [], 0
    for start, end, instead in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= at:
            parts += [text[at:start], instead]
        elif end > at:
            parts.append(HIDDEN)
        at = max(at, end)
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
            return _NATIONAL_ID.fullmatch(FoldedText(value).plain) is not None
        case _:
            return False


def is_code(value: str) -> bool:
    """Whether the value is three or four digits and nothing else."""
    return _CODE.fullmatch(FoldedText(value).plain) is not None


@lru_cache(1024)
def kind_of_field(key: str) -> str:
    """Return what a field's name says that it holds: `code`, `id`, or nothing."""
    plain = _NOT_IN_KEYS.sub("", folded(key).lower())
    if _CODE_KEY.fullmatch(plain):
        return "code"
    return "id" if _ID_KEY.fullmatch(plain) else ""
