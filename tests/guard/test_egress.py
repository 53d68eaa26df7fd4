from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.guard.egress import GRACE_SECONDS, Egress
from machines_mcp.secret import Secret
from tests.guard.clock import Clock

SECRET = 'mk-test_9f"2\\k+Zq7/LwA0=='

encodings: dict[str, Callable[[str], str]] = {
    "in clear": lambda s: s,
    "as a JSON string": lambda s: json.dumps(s),
    "as JSON within JSON": lambda s: json.dumps({"text": json.dumps({"v": s})}),
    "in hex": lambda s: s.encode().hex(),
    "in upper-case hex": lambda s: s.encode().hex().upper(),
    "backwards": lambda s: s[::-1],
    "in base64": lambda s: base64.b64encode(s.encode()).decode(),
    "in URL-safe base64": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "in base64 after one byte": lambda s: base64.b64encode(b"1" + s.encode() + b"tail").decode(),
    "in base64 after two bytes": lambda s: base64.b64encode(b"12" + s.encode() + b"tail").decode(),
    "in base64 without its padding": lambda s: base64.b64encode(s.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("encode", encodings.values(), ids=encodings.keys())
def test_a_known_secret_is_found(encode: Callable[[str], str]) -> None:
    egress = Egress()
    line = f'{{"text":"before {encode(SECRET)} after"}}'
    assert not egress.leaks(line)
    egress.learn(Secret(SECRET))
    assert egress.leaks(line)


@given(
    secret=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=16, max_size=60),
    before=st.binary(max_size=7),
    after=st.binary(max_size=7),
)
def test_base64_is_found_whatever_stands_around_the_secret(secret: str, before: bytes, after: bytes) -> None:
    egress = Egress()
    egress.learn(Secret(secret))
    around = before + secret.encode() + after
    assert egress.leaks(base64.b64encode(around).decode())
    assert egress.leaks(base64.urlsafe_b64encode(around).decode())


ORDINARY = json.dumps(
    {"text": "status approved user_id quote_0123456789abcdef ABCDEFGHIJKLMNOPQRSTUVWXYZ= 4111 balance"}
)


@pytest.mark.parametrize("length", range(12))
def test_a_short_secret_does_not_make_every_line_suspect(length: int) -> None:
    # What a needle of a few characters finds is chance: `AAAA` is in most base64.
    egress = Egress()
    egress.learn(Secret("\x7f" * length))
    assert not egress.leaks(ORDINARY + base64.b64encode(b"\x7f" * 3).decode())


@pytest.mark.parametrize("length", range(4, 12))
def test_a_short_secret_is_still_found_in_clear(length: int) -> None:
    secret = "q7Zk-w0Xv_9J"[:length]
    egress = Egress()
    egress.learn(Secret(secret))
    assert egress.leaks(f"see {secret}.")


def test_an_expired_secret_is_looked_for_five_minutes_longer_and_then_forgotten(clock: Clock) -> None:
    egress = Egress(clock)
    egress.learn(Secret("the-partner-key"))
    egress.learn(Secret("the-first-token"), clock.now + 900)
    clock.advance(900 + GRACE_SECONDS - 1)
    egress.learn(Secret("the-second-token"), clock.now + 900)
    assert egress.leaks("the-first-token")
    clock.advance(1)
    egress.learn(Secret("the-third-token"), clock.now + 900)
    assert not egress.leaks("the-first-token")
    for known in ("the-partner-key", "the-second-token", "the-third-token"):
        assert egress.leaks(known)


def test_learning_again_never_shortens_a_secrets_time(clock: Clock) -> None:
    egress = Egress(clock)
    egress.learn(Secret("the-partner-key"))
    egress.learn(Secret("the-partner-key"), clock.now)
    egress.learn(Secret("the-first-token"), clock.now + 9000)
    egress.learn(Secret("the-first-token"), clock.now + 1)
    clock.advance(5000)
    egress.learn(Secret("the-second-token"), clock.now + 900)
    assert egress.leaks("the-partner-key")
    assert egress.leaks("the-first-token")


def test_a_secret_that_is_said_to_be_expired_is_looked_for_all_the_same(clock: Clock) -> None:
    egress = Egress(clock)
    egress.learn(Secret("the-first-token"), clock.now - 9000)
    assert egress.leaks("the-first-token")


def test_a_days_sessions_do_not_pile_up(clock: Clock) -> None:
    egress = Egress(clock)
    egress.learn(Secret("the-partner-key"))
    for n in range(96):
        egress.learn(Secret(f"token-number-{n}"), clock.now + 900)
        clock.advance(900)
    assert sum(egress.leaks(f"of token-number-{n}.") for n in range(96)) <= 3
