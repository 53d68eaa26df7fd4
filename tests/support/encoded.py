"""Encodings of a secret to search for, implemented independently of the output filter."""

from __future__ import annotations

import base64
import codecs
import json
from collections.abc import Callable
from urllib.parse import quote

_FULL_WIDTH = {**{i: i + 0xFEE0 for i in range(0x21, 0x7F)}}
_ARABIC = {0x30 + i: 0x660 + i for i in range(10)}
_DEVANAGARI = {0x30 + i: 0x966 + i for i in range(10)}


def _by(size: int, between: str) -> Callable[[str], str]:
    return lambda s: between.join(s[i : i + size] for i in range(0, len(s), size))


def _each(form: str) -> Callable[[str], str]:
    return lambda s: "".join(form.format(byte) for byte in s.encode())


ENCODINGS: dict[str, Callable[[str], str]] = {
    "in clear": lambda s: s,
    "JSON": lambda s: json.dumps(s),
    "JSON within JSON": lambda s: json.dumps({"text": json.dumps({"v": s})}),
    "lower case": lambda s: s.lower(),
    "upper case": lambda s: s.upper(),
    "swapped case": lambda s: s.swapcase(),
    "hex": lambda s: s.encode().hex(),
    "upper-case hex": lambda s: s.encode().hex().upper(),
    "hex with colons": lambda s: s.encode().hex(":"),
    "hex with blanks": lambda s: s.encode().hex(" "),
    "hex of UTF-16": lambda s: s.encode("utf-16-le").hex(),
    "backwards": lambda s: s[::-1],
    "hex, backwards": lambda s: s.encode().hex()[::-1],
    "base64, backwards": lambda s: base64.b64encode(s.encode()).decode()[::-1],
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 in lines": lambda s: _by(8, "\n")(base64.b64encode(s.encode()).decode()),
    "base64 without padding": lambda s: base64.b64encode(s.encode()).decode().rstrip("="),
    "base64 after one byte": lambda s: base64.b64encode(b"1" + s.encode() + b"tail").decode(),
    "base64 after two bytes": lambda s: base64.b64encode(b"12" + s.encode() + b"tail").decode(),
    "URL-safe base64": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "base64 of UTF-16": lambda s: base64.b64encode(s.encode("utf-16-le")).decode(),
    "base32": lambda s: base64.b32encode(s.encode()).decode(),
    "lower-case base32": lambda s: base64.b32encode(s.encode()).decode().lower(),
    "base32 after three bytes": lambda s: base64.b32encode(b"123" + s.encode() + b"tail").decode(),
    "base32hex": lambda s: base64.b32hexencode(s.encode()).decode(),
    "base85": lambda s: base64.b85encode(s.encode()).decode(),
    "rot13": lambda s: codecs.encode(s, "rot13"),
    "percent, as needed": lambda s: quote(s, safe=""),
    "percent": _each("%{:02X}"),
    "percent twice": lambda s: quote(_each("%{:02X}")(s), safe=""),
    "entities": lambda s: "".join(f"&#{ord(c)};" for c in s),
    "hex entities": lambda s: "".join(f"&#x{ord(c):X};" for c in s),
    "unicode escapes": lambda s: "".join(f"\\u{ord(c):04x}" for c in s),
    "one unicode escape": lambda s: s[:3] + f"\\u{ord(s[3]):04x}" + s[4:],
    "hex escapes": _each("\\x{:02x}"),
    "octal escapes": _each("\\{:03o}"),
    "hex numbers": lambda s: ", ".join(f"0x{byte:02x}" for byte in s.encode()),
    "decimal codes": lambda s: " ".join(str(byte) for byte in s.encode()),
    "binary": lambda s: " ".join(f"{byte:08b}" for byte in s.encode()),
    "full width": lambda s: s.translate(_FULL_WIDTH),
    "Arabic digits": lambda s: s.translate(_ARABIC),
    "Devanagari digits": lambda s: s.translate(_DEVANAGARI),
    "blank by 1": _by(1, " "),
    "dash by 1": _by(1, "-"),
    "blank by 2": _by(2, " "),
    "blank by 4": _by(4, " "),
    "dash by 4": _by(4, "-"),
    "no-break blanks by 4": _by(4, "\u00a0"),
    "zero-width blanks by 1": _by(1, "\u200b"),
    "list of letters": lambda s: json.dumps(list(s)),
}
