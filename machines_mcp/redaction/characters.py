"""Which characters of a text are shown: one set of rules for arguments, for upstream text and for terminals.

The ranges are written out, because Python's Unicode tables differ between versions: a character that a later Unicode
assigns would vanish on an older interpreter. A character that no rule names is kept, assigned or not.
"""

from __future__ import annotations

import re

REPLACEMENT = "\ufffd"

_SPACES = r" \xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
_BREAKS = r"\t-\r\x1c-\x1f\x85\u2028\u2029"
_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
# Unicode's property Bidi_Control.
_BIDI = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
# Joiners and variation selectors: parts of emoji, and of Persian, Indic, Mongolian and Japanese words.
_JOINERS = r"\u034f\u180b-\u180d\u180f\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef"
# The rest of Unicode's property Default_Ignorable_Code_Point, and the annotation marks.
_INVISIBLE = (
    r"\xad\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
)
# Surrogates, private use and noncharacters: each font shows something else.
_PRIVATE = r"\ud800-\uf8ff\ufdd0-\ufdef\ufffe\uffff\U000f0000-\U0010ffff" + "".join(
    f"\\U000{plane:x}fffe\\U000{plane:x}ffff" for plane in range(1, 15)
)

# Compiled on use, because compiling the wide ranges takes milliseconds of each start.
_ANSI = r"(?s)\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)"
_LAYOUT = f"[{_SPACES}]*[{_BREAKS}][{_SPACES}{_BREAKS}]*|[{_SPACES}]{{3,}}"
_LONG_JOINERS = f"(?<=[{_JOINERS}]{{2}})[{_JOINERS}]+"
_CHARACTER_RULES = (
    (f"[{_BIDI}]", "must not contain characters that change the direction of writing"),
    (f"[{_CONTROLS}]", "must not contain line breaks or control characters"),
    (f"[{_INVISIBLE}]", "must not contain invisible characters"),
    (f"[{_PRIVATE}]", "must not contain private characters or halves of characters"),
)
_TEXT_RULES = (
    *_CHARACTER_RULES,
    (f"^[{_SPACES}]|[{_SPACES}]$", "must not begin or end with a space"),
    (f"^[{_JOINERS}]|{_LONG_JOINERS}", "must not contain joiners that join nothing"),
    (f"[{_SPACES}]{{3}}", "must not contain three spaces in a row"),
)


def shown(text: str) -> str:
    """Return upstream text as it is shown. Text that breaks no rule stays unchanged.

    ANSI sequences, and control, bidi and invisible characters are removed. Private characters become U+FFFD. A line
    break or a long run of spaces becomes one space.
    """
    if text_fault(text) is None:
        return text
    spaced = re.sub(_LAYOUT, " ", re.sub(_ANSI, "", text))
    kept = re.sub(f"[{_PRIVATE}]", REPLACEMENT, re.sub(f"[{_CONTROLS}{_BIDI}{_INVISIBLE}]", "", spaced))
    trimmed = re.sub(f"^[{_SPACES}{_JOINERS}]+|[{_SPACES}]+$", "", kept)
    return re.sub(_LAYOUT, " ", re.sub(_LONG_JOINERS, "", trimmed))


def printable(text: str) -> str:
    """Replace characters that are never shown by U+FFFD, because they could control a terminal. Spaces are kept."""
    if text.isascii() and text.isprintable():
        return text
    return re.sub(f"[{_CONTROLS}{_BIDI}{_INVISIBLE}{_PRIVATE}]", REPLACEMENT, text)


def character_fault(text: str) -> str | None:
    """Return the first rule about characters that a text breaks, as words after a field's name; None if none."""
    return _first_broken(_CHARACTER_RULES, text)


def text_fault(text: str) -> str | None:
    """Return the first rule that a text breaks, as words after a field's name; None if it is shown as it is."""
    return _first_broken(_TEXT_RULES, text)


def checked_text(text: str) -> str:
    """Return the text unchanged; a validator of pydantic.

    Raises:
        PydanticCustomError: It breaks a rule.
    """
    return _checked(text, text_fault(text))


def checked_characters(text: str) -> str:
    """Return the text unchanged; a validator of pydantic.

    Raises:
        PydanticCustomError: It breaks a rule about characters.
    """
    return _checked(text, character_fault(text))


def _checked(text: str, fault: str | None) -> str:
    if fault is not None:
        from pydantic_core import PydanticCustomError

        raise PydanticCustomError("machines_rule", fault)
    return text


def _first_broken(rules: tuple[tuple[str, str], ...], text: str) -> str | None:
    # Most text is ASCII, for which looking up the rules takes longer than this.
    if text.isascii() and text.isprintable() and "   " not in text and text == text.strip():
        return None
    return next((rule for pattern, rule in rules if re.search(pattern, text)), None)
