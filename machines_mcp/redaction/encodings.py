"""How a secret can look when it is written down in another way, and a text brought back to where it can be seen.

Both sides are squeezed: lower case, letters and digits alone. So case, separators of any kind and the several layers of
escaped quotes that JSON within JSON has need no forms of their own.
"""

from __future__ import annotations

import base64
import codecs
import html
import json
import re
import string
import unicodedata
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

# What a few characters of an encoding match is chance, and would withhold innocent lines.
MIN_FORM = 8
_MIN_ENCODED = 4
_ROUNDS = 3

_PLAIN = (string.ascii_letters + string.digits).encode()
_OTHERS = bytes(set(range(256)) - set(_PLAIN))
_LOWER = bytes.maketrans(string.ascii_uppercase.encode(), string.ascii_lowercase.encode())

# One named group per way to write a character by its number. Each begins with a character of its own, not with "one or
# more of it": then the search skips whatever begins none, which is nearly all of a line.
_ESCAPE = re.compile(
    r"\\\\*u(?P<u>[0-9a-fA-F]{4})|\\\\*u\{(?P<v>[0-9a-fA-F]{1,6})\}|\\\\*x(?P<x>[0-9a-fA-F]{2})"
    r"|%u(?P<w>[0-9a-fA-F]{4})|%(?P<p>[0-9a-fA-F]{2})|&#[xX](?P<h>[0-9a-fA-F]{1,6});|&#(?P<d>[0-9]{1,7});"
    r"|&(?P<n>amp|lt|gt|quot|apos);|\\\\*(?P<s>[nrt])"
)
_MARKS = ("\\u", "\\x", "\\n", "\\r", "\\t", "%", "&")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_FOLD = "machines_mcp.fold"
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_OF_RUNS = _PLAIN + b"+/_-"
_RUNS = bytes(byte if byte in _OF_RUNS else 32 for byte in range(256))
_LEAST_RUN = 16
_HEX = re.compile(r"[0-9a-fA-F]+")
_BASE32 = re.compile(r"[A-Z2-7]+|[a-z2-7]+")


def squeezed(text: str) -> bytes:
    """The letters and digits of a text in lower case; those of other scripts that stand for ours are taken for them."""
    return text.encode("ascii", _FOLD).translate(_LOWER, _OTHERS)


def folded(text: str) -> str:
    """Full-width and styled characters and the digits of every script as ASCII; what is none of these as a blank."""
    return text if text.isascii() else text.encode("ascii", _FOLD).decode("ascii")


def _fold(error: UnicodeError) -> tuple[str, int]:
    """Stands in for what ASCII can't say, which is seldom much: the rest is encoded at full speed."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    plain = unicodedata.normalize("NFKC", error.object[error.start : error.end])
    return "".join(_ascii(c) for c in plain), error.end


def _ascii(c: str) -> str:
    if c.isascii():
        return c
    return str(unicodedata.decimal(c)) if c.isdecimal() else " "


codecs.register_error(_FOLD, _fold)


def unescaped(text: str) -> str:
    r"""The text with `\u0034`, `\x34`, `%34`, `&#52;`, `\n` and their kin read, layer by layer."""
    for _ in range(_ROUNDS):
        if not has_escapes(text):
            break
        read = _ESCAPE.sub(_character, text)
        if read == text:
            break
        text = read
    return text


def has_escapes(text: str) -> bool:
    """Whether `unescaped` may find something to read."""
    return any(mark in text for mark in _MARKS)


def _character(found: re.Match[str]) -> str:
    kind = found.lastgroup or "n"
    if kind == "s":
        return " "
    if kind == "n":
        return _NAMED[found[kind]]
    number = int(found[kind], 10 if kind == "d" else 16)
    return chr(number) if number < 0x110000 else ""


def decoded(text: str) -> Iterator[str]:
    """What the long runs of hex, base64 and base32 in a text say, where it is ASCII."""
    for raw in set(text.encode("ascii", _FOLD).translate(_RUNS).split()):
        run = raw.decode("ascii")
        if len(run) < _LEAST_RUN or _UUID.fullmatch(run):
            continue
        if _HEX.fullmatch(run):
            yield from _read(bytes.fromhex, (run[start : len(run) - (len(run) - start) % 2] for start in range(2)))
        if _BASE32.fullmatch(run):
            yield from _read(base64.b32decode, [run.upper() + "=" * (-len(run) % 8)])
        plain = run.translate(_FROM_URLSAFE)
        # What stands before an encoded text may look like a part of it.
        yield from _read(_base64, (plain[start:] for start in range(4)))


_FROM_URLSAFE = str.maketrans("-_", "+/")


def _base64(run: str) -> bytes:
    return base64.b64decode(run[: len(run) - 1] if len(run) % 4 == 1 else run + "=" * (-len(run) % 4))


def _read(decode: Callable[[str], bytes], runs: Iterator[str] | list[str]) -> Iterator[str]:
    for run in runs:
        try:
            raw = decode(run)
        except ValueError:
            continue
        if raw.isascii():
            yield raw.decode("ascii")


def forms(value: str) -> frozenset[bytes]:
    """The value in each of its encodings, squeezed, forwards and backwards; none shorter than `MIN_FORM`."""
    found = {squeezed(value)}
    if len(value) >= _MIN_ENCODED:
        found.update(squeezed(form) for form in _encoded(value))
    found.update([form[::-1] for form in found])
    return frozenset(form for form in found if len(form) >= MIN_FORM)


def literals(value: str) -> frozenset[str]:
    """What to look for to the letter of a value that has too few letters and digits for a form of its own."""
    if not value or len(squeezed(value)) >= MIN_FORM:
        return frozenset()
    escaped = json.dumps(value)[1:-1]
    return frozenset({value, escaped, json.dumps(escaped)[1:-1]})


def _encoded(value: str) -> Iterator[str]:
    raw = value.encode("utf-8", "surrogatepass")
    wide = value.encode("utf-16-le", "surrogatepass")
    yield json.dumps(value)
    yield json.dumps(value, ensure_ascii=False)
    yield from (quote(raw, safe=""), quote(raw), quote_plus(raw), html.escape(value))
    yield codecs.encode(value, "rot13")
    yield from (raw.hex(), wide.hex(), value.encode("utf-16-be", "surrogatepass").hex())
    yield from ("".join(f"{mark}{byte:02x}" for byte in raw) for mark in ("x", "0x"))
    yield from ("".join(f"{mark}{ord(c):04x}" for c in value) for mark in ("u", "0x"))
    yield from ("".join(f"{byte:{kind}}" for byte in raw) for kind in ("d", "o", "03o", "08b"))
    if value.isdecimal():
        yield f"{int(value):x}"
    for text in (raw, wide):
        yield from _aligned(text, base64.b64encode, 3, 4)
    yield from _aligned(raw, base64.b32encode, 5, 8)
    yield from (encode(raw).decode("ascii") for encode in (base64.b32hexencode, base64.b85encode, base64.a85encode))


def _aligned(raw: bytes, encode: Callable[[bytes], bytes], taken: int, given: int) -> Iterator[str]:
    """A secret inside a longer encoded text starts at one of `taken` places of a group of `given` characters.

    The edges are cut because they depend on the neighbours; a text that is encoded whole is kept whole as well.
    """
    yield encode(raw).decode("ascii")
    for shift in range(taken):
        whole = (shift + len(raw)) // taken * given
        yield encode(b"\0" * shift + raw)[given if shift else 0 : whole].decode("ascii")
