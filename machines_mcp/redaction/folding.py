"""Fold text to ASCII letters, digits and separators, so that no script or style hides a number from a detector.

The result is the same on every Python: categories and decompositions are those of Unicode 3.2, which the standard
library keeps, and the tables here add what is newer.
"""

from __future__ import annotations

import codecs
import string
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from functools import cached_property, lru_cache
from itertools import accumulate

from machines_mcp.redaction.digit_table import DIGITS

FOREIGN = "ª"
"""Stands for a letter that has no ASCII equivalent."""
_UNICODE = unicodedata.ucd_3_2_0
# Alphabets in capitals that Unicode 3.2 lacks: in parentheses, in squares, in circles, as flags, outlined.
_ALPHABETS = (0x1F110, 0x1F130, 0x1F150, 0x1F170, 0x1F1E6, 0x1CCD6)
_SMALL = (
    ("ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ", "abcdefghijklmnoprstuvwxyz"),
    ("ᴬᴮᴰᴱᴳᴴᴵᴶᴷᴸᴹᴺᴼᴾᴿᵀᵁⱽᵂ", "ABDEGHIJKLMNOPRTUVW"),
    ("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz"),
)
_STYLED_SYMBOLS = {start + step: chr(ord("A") + step) for start in _ALPHABETS for step in range(26)}
_STYLED = _STYLED_SYMBOLS | {
    ord(small): plain for smalls, plains in _SMALL for small, plain in zip(smalls, plains, strict=True)
}
# Variation selectors, tags, combining marks and other characters without a width of their own that Unicode 3.2 lacks
# or counts as blanks.
_UNSEEN = (
    *((0xE0000, 0xE0FFF), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0x180B, 0x180F)),
    *((0x200B, 0x200F), (0x2060, 0x206F), (0x61C, 0x61C)),
)
# Letters that are not seen, and letters that look like a bar, a dash or a dot.
_UNSEEN_LETTERS = frozenset("\u115f\u1160\u1885\u1886\u3164\uffa0")
_LIKE_MARKS = frozenset(
    "\u01c0\u01c1\u01c2\u01c3\u119e\u1173\u1175\u1427\u30ce\u3161\u3163\u318d\u4e28\u4e36\uffda\uffdc"
)
_FOLD, _FOLD_MARKS = "machines_mcp.fold", "machines_mcp.fold_marks"
_LETTERS = frozenset(string.ascii_letters + FOREIGN)


@lru_cache(4096)
def _folded_point(point: int) -> str:
    """Return a character's digits or ASCII letters; nothing for one that is not seen, and a separator for others."""
    found = DIGITS.get(point) or _STYLED.get(point)
    if found is not None:
        return found
    character = chr(point)
    if character.isascii():
        return character
    if any(first <= point <= last for first, last in _UNSEEN):
        return ""
    return "".join(_plain(part) for part in _UNICODE.normalize("NFKD", character))


def _plain(character: str) -> str:
    if character.isascii():
        return character
    digits = DIGITS.get(ord(character))
    if digits is not None:
        return digits
    match _UNICODE.category(character):
        case "Lu" | "Ll" | "Lt" | "Lm" | "Lo" | "Nl" | "No":
            return FOREIGN
        case "Mn" | "Mc" | "Me" | "Cf":
            return ""
        case "Zs" | "Zl" | "Zp" | "Cc":
            return " "
        case "Pd":
            return "-"
        case _:
            # U+2212 is the minus sign.
            return "-" if character == "\u2212" else ","


@lru_cache(4096)
def _folded_mark(point: int) -> str:
    """As `_folded_point`, but a symbol, or a letter that looks like one, becomes one separator."""
    found, character = _folded_point(point), chr(point)
    if character in _UNSEEN_LETTERS:
        return ""
    if character.isascii() or found.isdigit() or (len(found) <= 1 and found not in _LETTERS):
        return found
    return "," if _is_mark(character, found) else found


def _is_mark(character: str, found: str) -> bool:
    if character in _LIKE_MARKS or ord(character) in _STYLED_SYMBOLS:
        return True
    category = _UNICODE.category(character)
    return ord(character) not in _STYLED and (category[0] not in "LN" or (category == "Lm" and FOREIGN in found))


class FoldedText:
    """A text and its folding. `plain` has ASCII characters and `FOREIGN`; its places lead back to the original.

    `marks`: symbols such as ™, Ⓐ and flags are separators, not letters.
    """

    def __init__(self, original: str, *, marks: bool = False) -> None:
        self.original = original
        fold = _folded_mark if marks else _folded_point
        self._parts = None if original.isascii() else [fold(ord(c)) for c in original]
        self.plain = original if self._parts is None else "".join(self._parts)

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(len(part) for part in self._parts or ()))

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the part of the original that a part of `plain` came from."""
        if self._parts is None or start == end:
            return start, end
        # The marks after a character, such as those of a keycap, are part of it.
        last = bisect_right(self._ends, end - 1)
        while last + 1 < len(self._parts) and not self._parts[last + 1]:
            last += 1
        return bisect_right(self._ends, start), last + 1


def readings(first: FoldedText) -> list[FoldedText]:
    """Return a text folded with symbols as the letters they are made of, and as separators if that differs.

    ⒸⓋⒸ is the name of a code, but in 4111Ⓒ1111 the symbol only parts the digits.
    """
    if first.original.isascii():
        return [first]
    second = FoldedText(first.original, marks=True)
    return [first] if second.plain == first.plain else [first, second]


def folded(text: str, *, marks: bool = False) -> str:
    """Return a text in ASCII: as `FoldedText`, but with a space for each letter that has no equivalent."""
    return text if text.isascii() else text.encode("ascii", _FOLD_MARKS if marks else _FOLD).decode("ascii")


def squeezed(text: str) -> bytes:
    """Return the letters and digits of a text in lower case, with their equivalents in other scripts as ASCII."""
    return text.encode("ascii", _FOLD).translate(_LOWER, _OTHERS)


_PLAIN = bytes(byte for byte in range(128) if chr(byte).isalnum())
_OTHERS = bytes(set(range(256)) - set(_PLAIN))
_LOWER = bytes(ord(chr(byte).lower()) if byte < 128 else byte for byte in range(256))


def _handler(fold: Callable[[int], str]) -> Callable[[UnicodeError], tuple[str, int]]:
    """Return a codec error handler that replaces non-ASCII characters, so that ASCII is encoded at full speed."""

    def replace(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        found = "".join(fold(ord(c)) for c in error.object[error.start : error.end])
        return found.replace(FOREIGN, " "), error.end

    return replace


codecs.register_error(_FOLD, _handler(_folded_point))
codecs.register_error(_FOLD_MARKS, _handler(_folded_mark))
