"""Fold text to ASCII letters, digits and separators, so that no script or style hides a number from a detector.

The result is the same on every Python: categories and decompositions are those of Unicode 3.2, which the standard
library keeps, and the tables here add what is newer.
"""

from __future__ import annotations

import codecs
import unicodedata
from bisect import bisect_right
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
_STYLED = {start + step: chr(ord("A") + step) for start in _ALPHABETS for step in range(26)}
_STYLED |= {ord(small): plain for smalls, plains in _SMALL for small, plain in zip(smalls, plains, strict=True)}
# Variation selectors, tags, combining marks and other characters without a width of their own that Unicode 3.2 lacks
# or counts as blanks.
_UNSEEN = (
    *((0xE0000, 0xE0FFF), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0x180B, 0x180F)),
    *((0x200B, 0x200F), (0x2060, 0x206F), (0x61C, 0x61C)),
)
_FOLD = "machines_mcp.fold"


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


class FoldedText:
    """A text and its folding. `plain` has ASCII characters and `FOREIGN`; its places lead back to the original."""

    def __init__(self, original: str) -> None:
        self.original = original
        self._parts = None if original.isascii() else [_folded_point(ord(c)) for c in original]
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


def folded(text: str) -> str:
    """Return a text in ASCII: as `FoldedText`, but with a space for each letter that has no equivalent."""
    return text if text.isascii() else text.encode("ascii", _FOLD).decode("ascii")


def squeezed(text: str) -> bytes:
    """Return the letters and digits of a text in lower case, with their equivalents in other scripts as ASCII."""
    return text.encode("ascii", _FOLD).translate(_LOWER, _OTHERS)


_PLAIN = bytes(byte for byte in range(128) if chr(byte).isalnum())
_OTHERS = bytes(set(range(256)) - set(_PLAIN))
_LOWER = bytes(ord(chr(byte).lower()) if byte < 128 else byte for byte in range(256))


def _fold(error: UnicodeError) -> tuple[str, int]:
    """Replace non-ASCII characters. A codec error handler, so that ASCII text is encoded at full speed."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = "".join(_folded_point(ord(c)) for c in error.object[error.start : error.end])
    return found.replace(FOREIGN, " "), error.end


codecs.register_error(_FOLD, _fold)
