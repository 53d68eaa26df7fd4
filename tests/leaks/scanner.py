"""Find secrets in bytes. The scanner knows the values and nothing about the program that may have leaked them.

It was written independently of the product's filter, so that both don't share blind spots. A text is searched as it is,
unescaped, folded to plain letters and digits, and with anything that looks encoded decoded, two levels deep.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import contextlib
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tests.leaks.canaries import Canary, passes_luhn

DEPTH = 2
CHUNK = 4 * 1024 * 1024
# Longer than any secret in its longest spelling.
OVERLAP = 4096
# A part of this length counts as the whole secret.
WINDOW = 12

_DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_NAMES = {name: str(at) for at, name in enumerate(_DIGIT_NAMES)}
_NAMED_DIGIT = re.compile(rf"\b({'|'.join(_DIGIT_NAMES)})\b", re.IGNORECASE | re.ASCII)
_ESCAPE = re.compile(
    r"\\+(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([0-3][0-7]{2})|([nrtbf]))|%(?:25)*([0-9a-fA-F]{2})"
    r"|&#(?:([0-9]{1,7})|[xX]([0-9a-fA-F]{1,6}));?|=([0-9A-F]{2})|([\U000e0020-\U000e007e])"
)
_BASES = {1: 16, 2: 16, 3: 8, 5: 16, 6: 10, 7: 16, 8: 16}
_TAG = 9
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_SURROGATE = re.compile("[\ud800-\udfff]")

_RUN = re.compile(rb"[A-Za-z0-9+/_-]{12,}={0,6}")
_RUN_IN_LINES = re.compile(
    rb"(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9+/_-]{8,}+={0,6}+(?:\s|\\+[nr])++){2,}+[A-Za-z0-9+/_-]*+={0,6}+"
)
_RUN85 = re.compile(rb"[0-9A-Za-z!#$%&()*+;<=>?@^_`{|}~-]{10,}")
_LISTED = re.compile(
    rb"(?<![0-9a-fA-F])(?:(?:[0-9]{2,3}(?:, ?| )){8,}+[0-9]{2,3}|(?:0x[0-9a-fA-F]{2},? ?){9,}+|(?:[01]{8} ?){9,}+"
    rb"|(?:[0-9a-fA-F]{2}[: -]){8,}+[0-9a-fA-F]{2})"
)
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2}){6,}")
_BASE32 = re.compile(rb"(?:[A-Z2-7]+|[a-z2-7]+)=*")

_ALNUM = b"0123456789abcdefghijklmnopqrstuvwxyz"
_LOWER = bytes(ord(chr(b).lower()) if b < 128 else b for b in range(256))
_NOT_ALNUM = bytes(b for b in range(256) if _LOWER[b] not in _ALNUM)
_NUMBER = re.compile(rb"(?<![0-9A-Za-z])(?:[0-9]{15,19}|[0-9]{4}(?:[ -][0-9]{4}){3})(?![0-9A-Za-z])")
# Decoded data is searched only if it can be text, which random bytes almost never are.
_LEGIBLE = re.compile(rb"[\t\n\r -~]{8,}|(?:[ -~]\0){8,}|(?:\0[ -~]){8,}")
_FOUR = re.compile(rb"(?<![0-9A-Za-z])[0-9]{4}(?![0-9A-Za-z])")
_NOT_DIGIT = bytes(b for b in range(256) if not 48 <= b <= 57)


@dataclass(frozen=True, slots=True)
class Hit:
    """A secret that was found: its spelling, its encoding depth and the surrounding text."""

    canary: Canary
    spelling: str
    depth: int
    around: str

    def __str__(self) -> str:
        return f"{self.canary.name} ({self.spelling}, depth {self.depth}): ...{self.around}..."


@dataclass(frozen=True, slots=True)
class _Needle:
    canary: Canary
    spelling: str
    bytes: bytes


class Scanner:
    """Searches for a set of secrets. Reusable."""

    def __init__(self, canaries: Iterable[Canary], *, chunk: int = CHUNK) -> None:
        self.canaries = tuple(canaries)
        self._chunk = chunk
        texts = [c for c in self.canaries if not c.is_digits and c.kind != "cvc"]
        self._folded = [needle for canary in texts for needle in _folded_needles(canary)]
        self._digits = [
            _Digits(canary, word) for canary in self.canaries if canary.is_digits for word in _words(canary)
        ]
        self._codes = _Codes(canary for canary in self.canaries if canary.kind == "cvc")
        spelt = [(canary, text) for canary in self.canaries for text in _spellings(canary)]
        self._runs = [n for canary, text in spelt for n in _run_needles(canary, text)]
        self._runs85 = [n for canary, text in spelt for n in _shifted(canary, text, "base85", base64.b85encode, 4, 5)]
        self._raw = [n for canary, text in spelt for n in _raw_needles(canary, text)]
        self._wide = [n for canary, text in spelt for n in _wide_needles(canary, text)]

    def scan(self, data: bytes) -> list[Hit]:
        """Find each secret in `data`, once per spelling."""
        found: dict[tuple[str, str], Hit] = {}
        for start in range(0, max(len(data), 1), self._chunk):
            for hit in self._scan(data[start : start + self._chunk + OVERLAP], 0):
                found.setdefault((hit.canary.name, hit.spelling), hit)
        return list(found.values())

    def scan_file(self, path: Path) -> list[Hit]:
        """Find secrets in a file and in its name."""
        return self.scan(path.name.encode() + b"\n" + path.read_bytes())

    def _scan(self, data: bytes, depth: int) -> Iterator[Hit]:
        yield from _search(data, self._raw, depth)
        if b"\0" in data:
            yield from _search(data, self._wide, depth)
        runs85 = b"\n".join(set(_RUN85.findall(data)))
        yield from _search(runs85, self._runs85, depth)
        text = data.decode("utf-8", "ignore")
        for view in _views(text):
            yield from self._look(view, depth)
        runs = set(_RUN.findall(data)) | {re.sub(rb"\s|\\+[nr]", b"", run) for run in _RUN_IN_LINES.findall(data)}
        yield from _search(b"\n".join(runs), self._runs, depth)
        if depth < DEPTH:
            pieces = set(_decoded(runs)) | set(_listed(data))
            decoded = b"\n.\n".join(legible for piece in pieces for legible in _legible(piece))
            if decoded:
                yield from self._scan(decoded, depth + 1)

    def _look(self, view: bytes, depth: int) -> Iterator[Hit]:
        small = view.translate(_LOWER)
        yield from _search(small.translate(None, _NOT_ALNUM), self._folded, depth)
        digits = small.translate(None, _NOT_DIGIT)
        for digits_needle in self._digits:
            yield from digits_needle.look(digits, view, depth)
        yield from self._codes.look(small, depth)


def _search(data: bytes, needles: Iterable[_Needle], depth: int) -> Iterator[Hit]:
    for needle in needles:
        if needle.bytes in data:
            at = data.index(needle.bytes)
            yield Hit(needle.canary, needle.spelling, depth, _around(data, at, at + len(needle.bytes)))


def _around(data: bytes, start: int, end: int) -> str:
    return data[max(start - 60, 0) : end + 30].decode("utf-8", "replace").replace("\n", " ")


class _Digits:
    """A number: its digits in sequence, with up to a few other characters between two digits."""

    def __init__(self, canary: Canary, word: tuple[str, str]) -> None:
        self._canary, (self._spelling, digits) = canary, word
        self._digits = digits.encode()
        # Nine digits can occur by chance within a longer number.
        bounded = canary.kind == "ssn"
        between = rb"[^0-9]{0,9}" if bounded else rb"[^0-9]{0,4}"
        body = between.join(re.escape(bytes([digit])) for digit in self._digits)
        self._pattern = re.compile(rb"(?<![0-9])" + body + rb"(?![0-9])" if bounded else body)

    def look(self, digits: bytes, view: bytes, depth: int) -> Iterator[Hit]:
        if self._digits in digits:
            found = self._pattern.search(view)
            if found is not None:
                yield Hit(self._canary, self._spelling, depth, _around(view, *found.span()))


class _Codes:
    """Card codes, found only after a label or a whole card number."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        self._codes = {canary.value.encode(): canary for canary in canaries}
        called = rb"(?:c\W{0,5}v\W{0,5}[cvn]|security\W{0,3}code|verification\W{0,3}value|card\W{0,3}code)"
        digits = rb"(?P<code>[0-9](?:[^0-9a-z]{0,5}[0-9]){3})(?![0-9])"
        self._named = re.compile(called + rb"[^0-9]{0,32}" + digits)
        self._turned = re.compile(rb"p\W{0,5}i\W{0,5}p[^0-9a-z]{0,24}" + digits)

    def look(self, view: bytes, depth: int) -> Iterator[Hit]:
        if not self._codes:
            return
        for spelling, pattern, text in (
            ("after its name", self._named, view),
            ("backwards", self._named, view[::-1]),
            ("rot13", self._turned, view),
        ):
            for found in pattern.finditer(text):
                canary = self._codes.get(found["code"].translate(None, _NOT_DIGIT))
                if canary is not None:
                    yield Hit(canary, spelling, depth, _around(text, *found.span()))
        for number in _NUMBER.finditer(view):
            if passes_luhn(number[0].translate(None, _NOT_DIGIT).decode()):
                for code in _FOUR.findall(view, number.end(), number.end() + 64):
                    if code in self._codes:
                        yield Hit(self._codes[code], "beside a number", depth, _around(view, *number.span()))


def _words(canary: Canary) -> Iterator[tuple[str, str]]:
    core = canary.core
    yield "digits", core
    yield "digits backwards", core[::-1]
    if len(core) > WINDOW:
        yield "the first digits", core[:WINDOW]
        yield "the last digits", core[-WINDOW:]


def _folded_needles(canary: Canary) -> Iterator[_Needle]:
    core = canary.core
    yield _Needle(canary, "letters and digits", core.encode())
    yield _Needle(canary, "backwards", core[::-1].encode())
    yield _Needle(canary, "rot13", codecs.encode(core, "rot13").encode())
    yield _Needle(canary, "hexadecimal", core.encode().hex().encode())
    # Passphrases share words.
    if len(core) >= 2 * WINDOW and canary.kind not in ("secret key", "passphrase"):
        yield _Needle(canary, "the beginning", core[:WINDOW].encode())
        yield _Needle(canary, "the end", core[-WINDOW:].encode())


def _spellings(canary: Canary) -> list[str]:
    """Yield the texts whose encodings are searched for."""
    if canary.kind == "cvc":
        forms = ("cvc: {}", "cvc={}", "cvv: {}", '"cvc":"{}"', '"cvc": "{}"')
        return [form.format(canary.value) for form in forms]
    texts = [canary.value]
    if canary.kind == "ssn":
        texts.append(canary.core)
    return texts + [text.lower() for text in texts if text.lower() != text]


def _shifted(
    canary: Canary, text: str, spelling: str, encode: Callable[[bytes], bytes], group: int, width: int
) -> Iterator[_Needle]:
    """Yield the part of an encoded text that does not depend on its neighbors, for each position in a group."""
    raw = text.encode()
    for shift in range(group):
        whole = (shift + len(raw)) // group
        inner = encode(b"\0" * shift + raw)[width if shift else 0 : whole * width]
        if len(inner) >= 8:
            yield _Needle(canary, spelling, inner)


def _run_needles(canary: Canary, text: str) -> Iterator[_Needle]:
    yield from _shifted(canary, text, "base64", base64.b64encode, 3, 4)
    yield from _shifted(canary, text, "base64 for URLs", base64.urlsafe_b64encode, 3, 4)
    for needle in _shifted(canary, text, "base32", base64.b32encode, 5, 8):
        yield needle
        yield _Needle(canary, "base32, small", needle.bytes.lower())
    if canary.kind == "secret key":
        raw = bytes.fromhex(text)
        yield _Needle(canary, "base64 of its bytes", base64.b64encode(raw)[:20])


def _raw_needles(canary: Canary, text: str) -> Iterator[_Needle]:
    yield from _shifted(canary, text, "ascii85", base64.a85encode, 4, 5)
    yield from _shifted(canary, text, "uuencode", lambda raw: binascii.b2a_uu(raw)[1:-1], 3, 4)
    if canary.kind == "secret key":
        yield _Needle(canary, "its bytes", bytes.fromhex(text))


def _wide_needles(canary: Canary, text: str) -> Iterator[_Needle]:
    for name in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        yield _Needle(canary, name, text.encode(name))


def _views(text: str) -> Iterator[bytes]:
    """Yield the text fully unescaped, with number words as digits, and folded to ASCII."""
    for _ in range(3):
        yield _folded(text)
        named = [line for line in text.split("\n") if _NAMED_DIGIT.search(line)]
        if named:
            yield _folded("\n".join(_NAMED_DIGIT.sub(lambda m: _NAMES[m[1].lower()], line) for line in named))
        text, count = _ESCAPE.subn(_unescaped, text)
        if not count:
            return
        if _SURROGATE.search(text):
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unescaped(found: re.Match[str]) -> str:
    group = found.lastindex or 0
    if group in _BASES:
        point = int(found[group], _BASES[group])
        return chr(point) if point < 0x110000 else ""
    return chr(ord(found[_TAG]) - 0xE0000) if group == _TAG else " "


def _folded(text: str) -> bytes:
    return _NOT_ASCII.sub(_plain, text).encode("ascii", "ignore")


def _plain(found: re.Match[str]) -> str:
    return _ascii(found[0])


@lru_cache(maxsize=4096)
def _ascii(text: str) -> str:
    kept = (c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    return "".join(c if (digit := unicodedata.digit(c, None)) is None else str(digit) for c in kept)


def _decoded(runs: Iterable[bytes]) -> Iterator[bytes]:
    for run in runs:
        bare = run.rstrip(b"=")
        if _HEX.fullmatch(bare):
            yield _opened(bytes.fromhex(bare.decode()))
        if _BASE32.fullmatch(run):
            with_padding = bare.upper() + b"=" * (-len(bare) % 8)
            with contextlib.suppress(binascii.Error):
                yield base64.b32decode(with_padding)
        standard = bare.translate(bytes.maketrans(b"-_", b"+/"))
        for shift in range(1 if len(bare) > 4096 else 4):
            part = standard[shift:]
            try:
                yield _opened(base64.b64decode(part + b"=" * (-len(part) % 4)))
            except binascii.Error:
                continue


def _listed(data: bytes) -> Iterator[bytes]:
    for found in _LISTED.findall(data):
        words = re.findall(rb"[0-9a-fA-Fx]+", found)
        if all(re.fullmatch(rb"[01]{8}", word) for word in words):
            yield bytes(int(word, 2) for word in words)
            continue
        if all(word.isdigit() for word in words):
            yield bytes(value for value in map(int, words) if value < 256)
        if all(re.fullmatch(rb"(0x)?[0-9a-fA-F]{2}", word) for word in words):
            yield bytes(int(word, 16) for word in words)


def _legible(piece: bytes) -> list[bytes]:
    try:
        piece.decode("utf-8")
    except UnicodeDecodeError:
        return _LEGIBLE.findall(piece)
    return [piece]


def _opened(raw: bytes) -> bytes:
    """Decompress up to the first megabyte."""
    for window in (15, 31):
        if raw[:1] == (b"\x78" if window == 15 else b"\x1f"):
            try:
                return zlib.decompressobj(window).decompress(raw, 1024 * 1024)
            except zlib.error:
                continue
    return raw
