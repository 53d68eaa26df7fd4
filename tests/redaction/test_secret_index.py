"""The index finds each secret anywhere, regardless of the other secrets, until it is removed."""

from __future__ import annotations

import gc
import random
import secrets
import tracemalloc
import weakref
from dataclasses import dataclass

import pytest

from machines_mcp.redaction.encodings import all_encodings
from machines_mcp.redaction.output_filter import OutputFilter
from machines_mcp.redaction.secret import Secret
from machines_mcp.redaction.secret_index import NEWEST, SecretIndex

LETTERS = b"abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class Owner:
    form: bytes


def _bytes(rng: random.Random, length: int) -> bytes:
    return bytes(rng.choices(LETTERS, k=length))


def _known(held: dict[str, list[bytes]]) -> SecretIndex[str]:
    needles = SecretIndex[str](held.__getitem__)
    for name in held:
        needles.add(name)
    return needles


@pytest.mark.parametrize("newer", [0, NEWEST - 1, NEWEST, 3 * NEWEST])
@pytest.mark.parametrize("length", [8, 9, 14, 15, 16, 17, 40, 300])
def test_secret_is_found_at_every_position(length: int, newer: int) -> None:
    rng = random.Random(length)  # noqa: S311
    secret = _bytes(rng, length)
    needles = _known({"it": [_bytes(rng, 30), secret]} | {f"newer-{n}": [_bytes(rng, 40)] for n in range(newer)})
    for before in range(20):
        for after in range(12):
            text = _bytes(rng, before) + secret + _bytes(rng, after)
            assert needles.found_in(text), (before, after)
            assert not needles.found_in(text.replace(secret, secret[:-1] + b"-")), (before, after)
    needles.remove("it")
    assert not needles.found_in(secret)


@pytest.mark.parametrize("text", [b"", b"a", b"abcdefg", b"abcdefgh", b"abcdefghi", b"a" * 100])
def test_absent_secret_is_not_found(text: bytes) -> None:
    assert not _known({"it": [b"12345678", b"abcdefgh0"]}).found_in(text)
    assert not _known({}).found_in(text)


def test_secrets_with_a_common_prefix_are_independent() -> None:
    rng = random.Random(7)  # noqa: S311
    held = {f"token-{number}": [b"eyjhbgcioijiuzi1niis" + _bytes(rng, 12)] for number in range(500)}
    needles = _known(held)
    assert not needles.found_in(b"eyjhbgcioijiuzi1niis" + _bytes(rng, 12))
    for name, (secret,) in held.items():
        assert needles.found_in(b"xx" + secret + b"yy")
        needles.remove(name)
        assert not needles.found_in(b"xx" + secret + b"yy")


def test_secret_added_twice_is_found_until_both_are_removed() -> None:
    needles = _known({"one": [b"shared-by-both"], "two": [b"shared-by-both"]})
    needles.remove("one")
    assert needles.found_in(b"a shared-by-both")
    needles.remove("two")
    assert not needles.found_in(b"a shared-by-both")


@pytest.mark.parametrize("length", [8, 14, 15, 40])
def test_removed_secrets_are_held_no_longer(length: int) -> None:
    rng = random.Random(length)  # noqa: S311
    needles = SecretIndex[Owner](lambda owner: [owner.form, owner.form + b"-and-some-more"])
    held = [Owner(_bytes(rng, length)) for _ in range(2 * NEWEST)]
    texts, watched = [owner.form for owner in held], [weakref.ref(owner) for owner in held]
    for owner in held:
        needles.add(owner)
    assert all(map(needles.found_in, texts))
    while held:
        needles.remove(held.pop())
    del owner
    gc.collect()
    assert not any(map(needles.found_in, texts))
    assert [ref for ref in watched if ref() is not None] == []


def test_older_token_with_dozens_of_forms_takes_a_few_kilobytes() -> None:
    output_filter, tokens = OutputFilter(), [Secret(secrets.token_urlsafe(48)) for _ in range(100)]
    tracemalloc.start()
    try:
        # The newest take more, but there are never more of them.
        for _ in range(3 * NEWEST):
            output_filter.add_secret(Secret(secrets.token_urlsafe(48)))
        before, _ = tracemalloc.get_traced_memory()
        for token in tokens:
            output_filter.add_secret(token)
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    forms_of_one = sum(len(form) for form in all_encodings(tokens[0].expose()))
    assert forms_of_one > 3_000
    assert kept / len(tokens) < 8_000
