"""How a card number can be written in a text, so that a person or a model can still read it."""

from __future__ import annotations

from collections.abc import Callable

Write = Callable[[str], str]

KEYCAP = "\ufe0f\u20e3"


def _groups(size: int, between: str) -> Write:
    return lambda n: between.join(n[at : at + size] for at in range(0, len(n), size))


def _laid_out(*sizes: int, between: str = " ") -> Write:
    def write(n: str) -> str:
        parts, at = [], 0
        for size in sizes:
            parts.append(n[at : at + size])
            at += size
        return between.join([*parts, n[at:]]).rstrip(between)

    return write


def _from(zero: int) -> Write:
    return lambda n: "".join(chr(zero + int(c)) for c in n)


def _named(digits: str) -> Write:
    return lambda n: "".join(digits[int(c)] for c in n)


def _uuid(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"


def _counted(n: str) -> str:
    """Write pairs of digits as circled numbers up to fifty where one exists."""
    circled = {str(value): chr(0x2460 + value - 1) for value in range(10, 21)}
    circled |= {str(value): chr(0x3251 + value - 21) for value in range(21, 36)}
    circled |= {str(value): chr(0x32B1 + value - 36) for value in range(36, 51)}
    return "".join(circled.get(n[at : at + 2], n[at : at + 2]) for at in range(0, len(n), 2))


WRITINGS: dict[str, Write] = {
    "plain": str,
    "groups, blanks": _groups(4, " "),
    "groups, two blanks": _groups(4, "  "),
    "groups, tab": _groups(4, "\t"),
    "groups, line breaks": _groups(4, "\n"),
    "groups, no-break blanks": _groups(4, "\u00a0"),
    "groups, dashes": _groups(4, "-"),
    "groups, en dashes": _groups(4, "\u2013"),
    "groups, minus signs": _groups(4, "\u2212"),
    "groups, commas": _groups(4, ","),
    "groups, commas and blanks": _groups(4, ", "),
    "groups, slashes": _groups(4, "/"),
    "groups, slashes between blanks": _groups(4, " / "),
    "groups, backslashes": _groups(4, "\\"),
    "groups, colons": _groups(4, ":"),
    "groups, dots": _groups(4, "."),
    "groups, middle dots": _groups(4, "\u00b7"),
    "groups, bullets": _groups(4, "\u2022"),
    "groups, underscores": _groups(4, "_"),
    "groups, bars": _groups(4, "|"),
    "groups, stars": _groups(4, "*"),
    "groups, plus signs": _groups(4, "+"),
    "groups, equal signs": _groups(4, "="),
    "groups, brackets": lambda n: f"[{_groups(4, '][')(n)}]",
    "groups, parentheses": lambda n: f"({_groups(4, ') (')(n)})",
    "groups, quotes": lambda n: f"'{_groups(4, chr(39) + ',' + chr(39))(n)}'",
    "groups, arrows": _groups(4, "\u2192"),
    "groups, emoji": _groups(4, "\U0001f4b3"),
    "groups, emoji of several characters": _groups(4, "\U0001f468\u200d\U0001f469\u200d\U0001f467"),
    "groups, dots of three": _groups(4, "..."),
    "groups, trade marks": _groups(4, "\u2122"),
    "groups, three trade marks": _groups(4, "\u2122\u2122\u2122"),
    "groups, numero signs": _groups(4, "\u2116"),
    "groups, circled letters": _groups(4, "\u24b6"),
    "groups, small circled letters": _groups(4, "\u24d0"),
    "groups, squared letters": _groups(4, "\U0001f130"),
    "groups, black squared letters": _groups(4, "\U0001f170"),
    "groups, circled ideographs": _groups(4, "\u3299"),
    "groups, flags": _groups(4, "\U0001f1fa\U0001f1f8"),
    "groups, signs of days": _groups(4, "\u33e0"),
    "groups, quadruple primes": _groups(4, "\u2057"),
    "groups, ellipses": _groups(4, "\u2026\u2026"),
    "groups, kana lengths": _groups(4, "\u30fc"),
    "groups, clicks": _groups(4, "\u01c0"),
    "groups, letter apostrophes": _groups(4, "\u02bc"),
    "groups, Hangul fillers": _groups(4, "\u3164"),
    "digits, trade marks": _groups(1, "\u2122"),
    "in a short hash, more digits": lambda n: f"fee{n}{'1' * (17 - len(n))}1",
    "in a short hash, digits around": lambda n: f"ab{'9' * (19 - len(n))}{n}86",
    "in a long hash, few digits": lambda n: f"ab{n}{'12' * 12}",
    "digits, blanks": _groups(1, " "),
    "digits, commas": _groups(1, ","),
    "digits, dots": _groups(1, "."),
    "digits, dashes between blanks": _groups(1, " - "),
    "digits, zero-width blanks": _groups(1, "\u200b"),
    "digits, joiners": _groups(1, "\u2060"),
    "digits, combining marks": _groups(1, "\u0336"),
    "digits, invisible plus": _groups(1, "\u2064"),
    "digits, as a list": lambda n: str([int(c) for c in n]),
    "digits, as a list of texts": lambda n: str(list(n)),
    "pairs, slashes": _groups(2, "/"),
    "threes, colons": _groups(3, ":"),
    "eights, comma": _groups(8, ","),
    "uneven groups": _laid_out(1, 3, 2, 5, 1, 2, between="/"),
    "groups of all sizes": _laid_out(5, 1, 1, 1, 1, 1, 1, 3, between=" "),
    "date with a time": lambda n: f"{n[:4]}-{n[4:6]}-{n[6:8]} {n[8:10]}:{n[10:12]}:{n[12:14]}.{n[14:]}",
    "date with a T": lambda n: f"{n[:4]}-{n[4:6]}-{n[6:8]}T{n[8:10]}:{n[10:12]}:{n[12:14]}.{n[14:]}Z",
    "after a date": lambda n: f"2026-11-22 {n}",
    "in a UUID's head": lambda n: _uuid(n + "0" * 16),
    "in a UUID's tail": lambda n: _uuid(n.rjust(32, "0")),
    "in a UUID with letters": lambda n: _uuid(n + "abcabcdefabcdefab"),
    "in a hash of letters": lambda n: f"0x{'abcd' * 6}{n}",
    "as an address": lambda n: f"0x{n:0>40}",
    "after zeros": lambda n: f"000000{n}",
    "before digits": lambda n: f"{n}0000000",
    "between digits": lambda n: f"99999{n}99999",
    "twice": lambda n: n + n,
    "after a longer number": lambda n: f"98765432109876543210 {n}",
    "before a longer number": lambda n: f"{n}/98765432109876543210",
    "groups after digits": lambda n: f"990{_groups(4, ' ')(n)}",
    "between letters": lambda n: f"x{n}y",
    "phone number": lambda n: f"+{n[:2]} ({n[2:5]}) {n[5:8]}-{n[8:]}",
    "address of four parts": _groups(4, "."),
    "superscript": _named("⁰¹²³⁴⁵⁶⁷⁸⁹"),
    "subscript": _from(0x2080),
    "circled": _named("⓪①②③④⑤⑥⑦⑧⑨"),
    "circled, white on black": _named("⓿❶❷❸❹❺❻❼❽❾"),
    "circled pairs": _counted,
    "double circled": _named("⓪⓵⓶⓷⓸⓹⓺⓻⓼⓽"),
    "in parentheses": _named("0⑴⑵⑶⑷⑸⑹⑺⑻⑼"),
    "with full stops": _named("🄀⒈⒉⒊⒋⒌⒍⒎⒏⒐"),
    "with commas": _from(0x1F101),
    "keycaps": lambda n: "".join(c + KEYCAP for c in n),
    "keycaps, blanks": lambda n: " ".join(c + KEYCAP for c in n),
    "full width": _from(0xFF10),
    "full width, groups": lambda n: _groups(4, "\u3000")(_from(0xFF10)(n)),
    "Arabic": _from(0x660),
    "Devanagari": _from(0x966),
    "Thai": _from(0xE50),
    "bold": _from(0x1D7CE),
    "monospace": _from(0x1D7F6),
    "segments": _from(0x1FBF0),
    "outlined (Unicode 16)": _from(0x1CCF0),
    "Kawi (Unicode 15)": _from(0x11F50),
    "ideographs": _named("〇一二三四五六七八九"),
    "counting rods": _named("0" + "".join(chr(0x1D360 + value) for value in range(9))),
    "tags": _from(0xE0030),
    "every second digit full width": lambda n: "".join(c if at % 2 else chr(0xFF10 + int(c)) for at, c in enumerate(n)),
    "\\u escapes": lambda n: "".join(f"\\u{ord(c):04x}" for c in n),
    "percent": lambda n: "".join(f"%{ord(c):02x}" for c in n),
    "percent, full width": lambda n: "".join("".join(f"%{b:02X}" for b in chr(0xFF10 + int(c)).encode()) for c in n),
    "HTML": lambda n: "".join(f"&#{ord(c)};" for c in n),
}  # fmt: skip
"""Each way by its name. All take 13 to 19 digits."""
