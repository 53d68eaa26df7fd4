"""Characters that people and programs read as digits: decimal digits of every script, and styled or counted ones.

These are tables, not calls of `unicodedata`, because each Python knows another version of Unicode. They include the
digits that Unicode 15 to 17 added.
"""

from __future__ import annotations

from collections.abc import Iterator

# The code points of a zero that is followed by one to nine.
_ZEROS = (
    *(0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0),
    *(0xF20, 0x1040, 0x1090, 0x17E0, 0x17F0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50),
    *(0x2080, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x10D30, 0x10D40, 0x11066),
    *(0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x116D0, 0x116DA, 0x11730, 0x118E0),
    *(0x11950, 0x11BF0, 0x11C50, 0x11D50, 0x11DA0, 0x11DE0, 0x11F50, 0x16130, 0x16A60, 0x16AC0, 0x16B50, 0x16D70),
    *(0x16E80, 0x1CCF0, 0x1D2E0, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E4F0, 0x1E5F1),
    *(0x1E950, 0x1F101, 0x1FBF0, 0xE0030),
)
# Shorter rows: the code point, the value of its character, and the number of characters that count up from there.
_ROWS = (
    *((0xB2, 2, 2), (0xB9, 1, 1), (0x2070, 0, 1), (0x2074, 4, 6)),  # superscript
    *((0x24EA, 0, 1), (0x2460, 1, 20), (0x3251, 21, 15), (0x32B1, 36, 15)),  # circled
    *((0x24FF, 0, 1), (0x2776, 1, 10), (0x24EB, 11, 10), (0x24F5, 1, 10)),  # white on black, double circled
    *((0x1F10B, 0, 1), (0x2780, 1, 10), (0x1F10C, 0, 1), (0x278A, 1, 10)),  # circled, sans-serif
    *((0x2474, 1, 20), (0x1F100, 0, 1), (0x2488, 1, 20)),  # in parentheses, with a full stop
    *((0x3007, 0, 1), (0x3021, 1, 9), (0x3192, 1, 4), (0x3220, 1, 10), (0x3280, 1, 10)),  # ideographs
    *((0x1369, 1, 9), (0x19DA, 1, 1), (0x10107, 1, 9), (0x10A40, 1, 4), (0x10E60, 1, 9), (0x11052, 1, 9)),
    *((0x1D360, 1, 9), (0x1E8C7, 1, 9), (0x1F51F, 10, 1)),  # counting rods, Mende, keycap ten
)
_TENS_ON_SQUARES = 0x3248
_IDEOGRAPHS = ("零一二三四五六七八九", "〇壹貳參肆伍陸柒捌玖", "〇壹贰叁肆伍陆柒捌玖")


def _digits() -> Iterator[tuple[int, str]]:
    for zero in _ZEROS:
        yield from ((zero + value, str(value)) for value in range(10))
    for start, first, count in _ROWS:
        yield from ((start + step, str(first + step)) for step in range(count))
    yield from ((_TENS_ON_SQUARES + step, str(10 * (step + 1))) for step in range(8))
    for row in _IDEOGRAPHS:
        yield from ((ord(character), str(value)) for value, character in enumerate(row))


DIGITS: dict[int, str] = dict(_digits())
"""Code points with the ASCII digits that they stand for: `①` is 1, `㊷` is 42."""
