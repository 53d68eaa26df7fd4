"""Encodings that hide a secret from a plain search. The scanner must find them all."""

from __future__ import annotations

import base64
import binascii
import codecs
import gzip
import json
import textwrap
import zlib
from collections.abc import Callable
from urllib.parse import quote

Encode = Callable[[str], bytes]

_DIGIT_NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_LEET_SAFE = "0123456789"


def _text(make: Callable[[str], str]) -> Encode:
    return lambda value: make(value).encode()


def _each(make: Callable[[int], str], glue: str = "") -> Encode:
    return lambda value: glue.join(make(byte) for byte in value.encode()).encode()


def _spaced(by: int, glue: str) -> Encode:
    return _text(lambda value: glue.join(value[at : at + by] for at in range(0, len(value), by)))


def _digits(zero: int) -> Encode:
    return _text(lambda value: "".join(chr(zero + int(c)) if c in _LEET_SAFE else c for c in value))


def _full_width(value: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in value)


def _words(value: str) -> str:
    return " ".join(_DIGIT_NAMES[int(c)] if c in _LEET_SAFE else c for c in value)


def _base64(shift: int, encode: Callable[[bytes], bytes] = base64.b64encode) -> Encode:
    # In a longer text, a secret can begin at any position within a group and has other bytes around it.
    return lambda value: encode(b"x" * shift + value.encode() + b"yz")


def _wrapped(value: str) -> bytes:
    return "\n".join(textwrap.wrap(base64.b64encode(f"note: {value}; end".encode()).decode(), 12)).encode()


def _uuencoded(value: str) -> bytes:
    return b"begin 644 a\n" + binascii.b2a_uu(value.encode()[:45]) + b"end\n"


def _compressed(value: str, compress: Callable[[bytes], bytes]) -> bytes:
    return base64.b64encode(compress(f"here is {value} and no more".encode()))


def _nested(value: str) -> str:
    return json.dumps(json.dumps({"a": json.dumps({"b": value})}))


ENCODINGS: dict[str, Encode] = {
    "plain": str.encode,
    "upper case": _text(str.upper),
    "lower case": _text(str.lower),
    "JSON within JSON within JSON": _text(_nested),
    "\\u escapes": _each(lambda b: f"\\u{b:04x}"),
    "\\u escapes, escaped once more": _each(lambda b: f"\\\\u{b:04X}"),
    "\\x escapes": _each(lambda b: f"\\x{b:02x}"),
    "octal escapes": _each(lambda b: f"\\{b:03o}"),
    "percent": _text(lambda value: quote(value, safe="")),
    "percent, every byte": _each(lambda b: f"%{b:02x}"),
    "percent of percent": _each(lambda b: f"%25{b:02X}"),
    "HTML, decimal": _each(lambda b: f"&#{b};"),
    "HTML, hexadecimal": _each(lambda b: f"&#x{b:X};"),
    "quoted-printable": _each(lambda b: f"={b:02X}"),
    "hexadecimal": _each(lambda b: f"{b:02x}"),
    "hexadecimal, capitals": _each(lambda b: f"{b:02X}"),
    "hexadecimal, colons": _each(lambda b: f"{b:02x}", ":"),
    "hexadecimal, blanks": _each(lambda b: f"{b:02x}", " "),
    "hexadecimal, 0x": _each(lambda b: f"0x{b:02x}", ", "),
    "decimal list": _each(str, ", "),
    "decimal list without blanks": _each(str, ","),
    "binary": _each(lambda b: f"{b:08b}", " "),
    "base64": _base64(0),
    "base64, one later": _base64(1),
    "base64, two later": _base64(2),
    "base64 for URLs": _base64(1, base64.urlsafe_b64encode),
    "base64 of base64": lambda value: base64.b64encode(base64.b64encode(f"a={value}".encode())),
    "base64 in lines": _wrapped,
    "base64 of hexadecimal": lambda value: base64.b64encode(value.encode().hex().encode()),
    "hexadecimal of base64": lambda value: base64.b64encode(value.encode()).hex().encode(),
    "base64 of zlib": lambda value: _compressed(value, zlib.compress),
    "base64 of gzip": lambda value: _compressed(value, gzip.compress),
    "base32": lambda value: base64.b32encode(value.encode()),
    "base32, three later, small": lambda value: base64.b32encode(b"abc" + value.encode()).lower(),
    "base85": lambda value: base64.b85encode(value.encode()),
    "base85, two later": lambda value: base64.b85encode(b"ab" + value.encode()),
    "ascii85": lambda value: base64.a85encode(b"a" + value.encode()),
    "uuencode": _uuencoded,
    "UTF-16": lambda value: value.encode("utf-16-le"),
    "UTF-16, big end first": lambda value: value.encode("utf-16-be"),
    "UTF-32": lambda value: value.encode("utf-32-le"),
    "UTF-7": lambda value: value.encode("utf-7"),
    "reversed": _text(lambda value: value[::-1]),
    "rot13": _text(lambda value: codecs.encode(value, "rot13")),
    "a blank between any two": _spaced(1, " "),
    "a blank after every two": _spaced(2, " "),
    "groups of four": _spaced(4, " "),
    "groups of four, dashes": _spaced(4, "-"),
    "groups of four, no-break spaces": _spaced(4, "\xa0"),
    "zero-width spaces": _spaced(1, "\u200b"),
    "soft hyphens": _spaced(3, "\xad"),
    "one to a line": _spaced(1, "\n"),
    "a JSON list of characters": _text(lambda value: json.dumps(list(value))),
    "full width": _text(_full_width),
    "Arabic digits": _digits(0x660),
    "Devanagari digits": _digits(0x966),
    "mathematical digits": _digits(0x1D7CE),
    "tags that nobody sees": _text(lambda value: "".join(chr(0xE0000 + ord(c)) for c in value)),
    "digits as words": _text(_words),
}


def _named(digits: str) -> Encode:
    return _text(lambda value: "".join(digits[int(c)] if c in _LEET_SAFE else c for c in value))


def _between(before: str, after: str) -> Encode:
    return _text(lambda value: f"{before}{value}{after}")


WRITINGS: dict[str, Encode] = {
    "plain": str.encode,
    "groups of four": _spaced(4, " "),
    "groups of four, dashes": _spaced(4, "-"),
    "groups of four, no-break spaces": _spaced(4, "\xa0"),
    "groups of four, commas": _spaced(4, ", "),
    "groups of four, slashes": _spaced(4, "/"),
    "groups of four, colons": _spaced(4, ":"),
    "groups of four, bullets": _spaced(4, "\u2022"),
    "groups of four, brackets": _spaced(4, "]["),
    "groups of four, bars": _spaced(4, " | "),
    "groups of five, underscores": _spaced(5, "_"),
    "pairs, plus signs": _spaced(2, "+"),
    "digits, dots": _spaced(1, "."),
    "digits, commas": _spaced(1, ","),
    "digits, zero-width spaces": _spaced(1, "\u200b"),
    "digits, combining strokes": _spaced(1, "\u0336"),
    "keycaps": _text(lambda value: "".join(f"{c}\ufe0f\u20e3" if c in _LEET_SAFE else c for c in value)),
    "circled": _named("⓪①②③④⑤⑥⑦⑧⑨"),
    "circled, white on black": _named("⓿❶❷❸❹❺❻❼❽❾"),
    "superscript": _named("⁰¹²³⁴⁵⁶⁷⁸⁹"),
    "subscript": _digits(0x2080),
    "full width": _text(_full_width),
    "Arabic digits": _digits(0x660),
    "mathematical digits": _digits(0x1D7CE),
    "as a date": _text(lambda v: f"{v[:4]}-{v[4:6]}-{v[6:8]}T{v[8:10]}:{v[10:12]}:{v[12:]}"),
    "as a UUID": _text(lambda v: f"{v[:8]}-{v[8:12]}-{v[12:16]}-0000-000000000000{v[16:]}"),
    "after zeros": _between("0000", ""),
    "between digits": _between("9999", "9999"),
    "after a longer number": _between("98765432109876543210 ", ""),
}
"""How a card number can be written in a text, so that its form identifies it."""
