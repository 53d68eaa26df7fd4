"""The encodings in which a secret can appear, and decoding of text to find one.

Secrets and texts are both squeezed to lower-case letters and digits. So letter case, separators and the layers of
escaped quotes in nested JSON need no forms of their own.
"""

from __future__ import annotations

import base64
import codecs
import html
import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus

from machines_mcp.redaction.folding import folded, squeezed

# Shorter encoded forms match by chance and would withhold harmless lines.
MIN_FORM = 8
_MIN_ENCODED = 4
_ROUNDS = 3

# One named group per way to write a character by its number. Each starts with a literal character instead of a
# repetition, so that the search skips most of a line.
_ESCAPE = re.compile(
    r"\\\\*u(?P<u>[0-9a-fA-F]{4})|\\\\*u\{(?P<v>[0-9a-fA-F]{1,6})\}|(?P<x>(?:\\\\*x[0-9a-fA-F]{2})++)"
    r"|%u(?P<w>[0-9a-fA-F]{4})|(?P<p>(?:%[0-9a-fA-F]{2})++)|&#[xX](?P<h>[0-9a-fA-F]{1,6});|&#(?P<d>[0-9]{1,7});"
    r"|&(?P<n>amp|lt|gt|quot|apos);|\\\\*(?P<s>[nrt])"
)
_PAIR = re.compile(r"[0-9a-fA-F]{2}")
_MARKS = ("\\u", "\\x", "\\n", "\\r", "\\t")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_RUNS = bytes(byte if chr(byte).isascii() and (chr(byte).isalnum() or byte in b"+/_-") else 32 for byte in range(256))
_LEAST_RUN = 16
_LONGEST_NAME = 32
_HEX = re.compile(r"[0-9a-fA-F]+")
_BASE32 = re.compile(r"[A-Z2-7]+|[a-z2-7]+")


def unescaped(text: str) -> str:
    r"""Decode escapes such as `\u0034`, `\x34`, `%34`, `&#52;` and `\n`, layer by layer."""
    for _ in range(_ROUNDS):
        if not has_escapes(text):
            break
        read = _ESCAPE.sub(_character, text)
        if read == text:
            break
        text = read
    return text


def has_escapes(text: str) -> bool:
    """Whether `unescaped` might find an escape."""
    if "%" in text or "&" in text:
        return True
    if "\\" not in text:
        return False
    # JSON within JSON has many escaped quotes, and seldom another escape.
    rest = text.replace('\\"', "")
    return "\\" in rest and any(mark in rest for mark in _MARKS)


def _character(found: re.Match[str]) -> str:
    kind = found.lastgroup or "n"
    if kind == "s":
        return " "
    if kind == "n":
        return _NAMED[found[kind]]
    if kind in "px":
        raw = bytes.fromhex("".join(_PAIR.findall(found[kind])))
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw.decode("latin-1")
    number = int(found[kind], 10 if kind == "d" else 16)
    return chr(number) if number < 0x110000 else ""


def all_decodings(text: str, plain: bytes | None, depth: int) -> tuple[list[str], list[bytes]]:
    """Return the text with what it encodes, up to `depth` levels, and all of that squeezed, escapes decoded and not.

    `plain` is the text squeezed, if the caller has it.
    """
    texts, squeezes = [text], [squeezed(text) if plain is None else plain]
    read = unescaped(text)
    if read != text:
        squeezes.append(squeezed(read))
    if depth:
        for inner in set(decoded(read)):
            more, squeezed_more = all_decodings(inner, None, depth - 1)
            texts += more
            squeezes += squeezed_more
    return texts, squeezes


def decoded(text: str) -> Iterator[str]:
    """Yield the decoded content of long hex, base64 and base32 runs in a text, if it is ASCII."""
    for raw in set(folded(text).encode("ascii").translate(_RUNS).split()):
        if len(raw) >= _LEAST_RUN:
            run = raw.decode("ascii")
            yield from _known_contents(run) if len(run) <= _LONGEST_NAME else _contents(run)


def _contents(run: str) -> tuple[str, ...]:
    if _UUID.fullmatch(run):
        return ()
    found: list[str] = []
    if _HEX.fullmatch(run):
        found += _read(bytes.fromhex, (run[start : len(run) - (len(run) - start) % 2] for start in range(2)))
    if _BASE32.fullmatch(run):
        found += _read(base64.b32decode, [run.upper() + "=" * (-len(run) % 8)])
    plain = run.translate(_FROM_URLSAFE)
    # The characters before an encoded text may look like part of it, so try each alignment.
    return (*found, *_read(_base64, (plain[start:] for start in range(4))))


# Most lines repeat the same names of tools and fields.
_known_contents = lru_cache(512)(_contents)
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


def all_encodings(value: str) -> frozenset[bytes]:
    """Return the squeezed value in each encoding, forwards and backwards; none is shorter than `MIN_FORM`."""
    found = {squeezed(value)}
    if len(value) >= _MIN_ENCODED:
        found.update(squeezed(form) for form in _encoded(value))
    found.update([form[::-1] for form in found])
    return frozenset(form for form in found if len(form) >= MIN_FORM)


def literals(value: str) -> frozenset[str]:
    """Return the exact strings to search for if the value has too few letters and digits for `all_encodings`."""
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
    """Yield the encoded secret for each offset in a group of `taken` bytes, which encodes to `given` characters.

    The edges are cut because they depend on adjacent bytes. The secret encoded on its own is yielded in full, too.
    """
    yield encode(raw).decode("ascii")
    for shift in range(taken):
        whole = (shift + len(raw)) // taken * given
        yield encode(b"\0" * shift + raw)[given if shift else 0 : whole].decode("ascii")
