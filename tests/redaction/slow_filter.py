"""The output filter's rules without a short cut: every decoding of every run, every form of every secret, and every
detector on every text. It is slow, and what the filter must agree with.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import cache

import pytest
from pydantic_core import from_json, to_json

from machines_mcp.redaction import detectors, message_masking
from machines_mcp.redaction.encodings import all_encodings, literals, unescaped
from machines_mcp.redaction.folding import folded, squeezed
from machines_mcp.redaction.message_masking import MessageMasking

DEPTH = 2
MAX_LINE = 256 * 1024

_RUN = re.compile(r"[A-Za-z0-9+/_-]{16,}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_URL_SAFE = str.maketrans("-_", "+/")


def verdict(line: str, secrets: Collection[str], exempt: frozenset[str]) -> str | None:
    """Return what the filter must send for a line, or None if it must be withheld."""
    if len(line) > MAX_LINE:
        return None
    texts = list(_decodings(line, DEPTH))
    squeezes = {squeezed(read) for text in texts for read in (text, unescaped(text))}
    for secret in secrets:
        if any(form in squeeze for squeeze in squeezes for form in _forms(secret)):
            return None
        if any(one in text for text in texts for one in literals(secret)):
            return None
    masking = MessageMasking(exempt)
    message = from_json(line)
    shown = masking.masked(message)
    if not masking.count:
        return line
    # The client's own id is left as it is.
    return to_json({**shown, "id": message["id"]}).decode() + "\n"


@pytest.fixture
def every_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the masks look at each text with every rule, whatever a first look says."""
    monkeypatch.setattr(detectors, "has_nothing_to_mask", lambda text: False)
    monkeypatch.setattr(message_masking, "has_three_digits", lambda text: True)


_forms = cache(all_encodings)


def _decodings(text: str, depth: int) -> Iterator[str]:
    yield text
    if depth:
        for run in _RUN.findall(folded(unescaped(text))):
            for content in _contents(run):
                yield from _decodings(content, depth - 1)


def _contents(run: str) -> Iterator[str]:
    if _UUID.fullmatch(run):
        return
    plain = run.translate(_URL_SAFE)
    tries: list[tuple[Callable[[str], bytes], str]] = [(_base64, plain[start:]) for start in range(4)]
    if re.fullmatch("[0-9a-fA-F]+", run):
        tries += [(bytes.fromhex, run[start : len(run) - (len(run) - start) % 2]) for start in range(2)]
    if re.fullmatch("[A-Z2-7]+|[a-z2-7]+", run):
        tries.append((base64.b32decode, run.upper() + "=" * (-len(run) % 8)))
    for decode, given in tries:
        with suppress(ValueError):
            found = decode(given)
            if found.isascii():
                yield found.decode("ascii")


def _base64(run: str) -> bytes:
    return base64.b64decode(run[:-1] if len(run) % 4 == 1 else run + "=" * (-len(run) % 4))
