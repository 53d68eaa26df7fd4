from __future__ import annotations

import base64
import json
import random
import secrets
import time
import uuid

import pytest

from tests.leaks.canaries import Canaries, Canary, card_number
from tests.leaks.encodings import ENCODINGS, WRITINGS
from tests.leaks.scanner import Scanner

CANARIES = Canaries(1)
SCANNER = Scanner(CANARIES.all)
TRAFFIC_BYTES = 2_000_000


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_kind_is_found_in_every_encoding(encoding: str) -> None:
    told = [ENCODINGS[encoding](canary.sample) for canary in CANARIES.all]
    alone = b"\n\n".join(told)
    within = b"\n".join(b'{"a": "b c ' + one + b'", "d": 1}' for one in told)
    for data in (alone, within):
        found = {hit.canary.name for hit in SCANNER.scan(data)}
        missed = [
            (canary.name, one) for canary, one in zip(CANARIES.all, told, strict=True) if canary.name not in found
        ]
        assert missed == []


@pytest.mark.parametrize("writing", WRITINGS)
def test_card_number_is_found_in_every_writing(writing: str) -> None:
    for canary in CANARIES.all:
        if canary.kind in ("pan", "expiry+pan"):
            hits = SCANNER.scan(b"about " + WRITINGS[writing](canary.value) + b" Ltd")
            assert canary.name in {hit.canary.name for hit in hits}


def test_there_are_at_least_thirty_encodings_and_a_dozen_kinds() -> None:
    assert len(ENCODINGS) >= 30
    assert len({canary.kind for canary in CANARIES.all}) >= 12


def test_secret_is_found_across_chunks() -> None:
    for canary in CANARIES.all:
        (found, *_) = Scanner([canary], chunk=8192).scan(b"." * (2 * 8192 - 5) + canary.sample.encode() + b"." * 100)
        assert found.canary == canary


def test_half_a_token_and_a_number_without_its_last_four_are_found() -> None:
    for canary in CANARIES.all:
        if canary.kind in ("pan", "session token", "card session token", "partner key", "bearer"):
            for part in (canary.core[:12], canary.core[-12:]):
                assert canary.name in {hit.canary.name for hit in SCANNER.scan(f"<{part}>".encode())}, canary


def test_ordinary_traffic_has_no_hits() -> None:
    assert SCANNER.scan(_traffic(random.Random(2))) == []  # noqa: S311


def test_other_numbers_are_no_hits() -> None:
    rng = random.Random(3)  # noqa: S311
    others = " ".join(card_number(rng) for _ in range(2000)) + " cvc: 1234 ssn 123-45-6789 " + CANARIES.last4
    assert SCANNER.scan(others.encode()) == []


def test_code_is_a_hit_only_after_its_label_or_beside_a_number() -> None:
    (code,) = (canary for canary in CANARIES.own if canary.kind == "cvc")
    other = card_number(random.Random(4))  # noqa: S311

    def found(text: str) -> bool:
        return bool(Scanner([code]).scan(text.encode()))

    assert found(f'{{"securityCode": "{code.value}"}}')
    assert found(f"{other} 09/31 {code.value}")
    assert found(f"{code.value[::-1]} :cvc")
    assert not found(f"at {code.value} o'clock, {other[:9]}")
    assert not found(f"cvc 1{code.value}")


def test_similar_secret_of_another_run_is_no_hit() -> None:
    strangers = " ".join(canary.sample for canary in Canaries(99).all if canary.kind != "passphrase")
    assert SCANNER.scan(strangers.encode()) == []


def _traffic(rng: random.Random) -> bytes:
    lines = []
    size = 0
    while size < TRAFFIC_BYTES:
        body = {
            "card_id": str(uuid.uuid4()),
            "last4": f"{rng.randrange(10000):04d}",
            "amount_cents": rng.randrange(10**9),
            "address": "0x" + secrets.token_hex(20),
            "calldata": "0x" + secrets.token_hex(200),
            "signature": base64.b64encode(secrets.token_bytes(65)).decode(),
            "created_at": time.time(),
            "merchant_name": f"Café №{rng.randrange(10**6)} “one two three” — ٣٤٥",
            "next_steps": [{"tool": "get_card", "why": "See the card as it is now.", "arguments": {}}],
            "cursor": base64.urlsafe_b64encode(secrets.token_bytes(24)).decode(),
        }
        lines.append(json.dumps({"jsonrpc": "2.0", "id": size, "result": {"text": json.dumps(body)}}))
        size += len(lines[-1])
    return "\n".join(lines).encode()


def test_hit_names_the_secret_and_its_place() -> None:
    canary = Canary("pan", "own", CANARIES.pan)
    (hit, *_) = Scanner([canary]).scan(f"merchant {CANARIES.pan} of".encode())
    assert "pan/own" in str(hit)
    assert "merchant" in str(hit)


@pytest.mark.parametrize("text", ["\u017fix", "f\u0131ve", "S\u0130X"])
def test_letters_that_only_look_like_a_number_word_are_no_digit(text: str) -> None:
    assert Scanner([]).scan(text.encode()) == []
