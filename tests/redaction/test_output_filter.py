from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.redaction import output_filter as module
from machines_mcp.redaction.output_filter import GRACE_SECONDS, MAX_LINE, MOST_ALLOWED, UNDER_WAY_SECONDS, OutputFilter
from machines_mcp.redaction.secret import Secret
from tests.support.card_numbers import card_number
from tests.support.clock import Clock
from tests.support.encoded import ENCODINGS

SECRET = 'mk-test_9f"2\\k+Zq7/LwA0=='
PLAIN_SECRET = "mst_Qw7rT2pLx9Vb4Nc8Kd1Z"


def answer(result: Any, number: int | str = 1) -> str:
    """A line as the SDK writes it, with the result as text and as structured content."""
    content = [{"type": "text", "text": json.dumps(result, separators=(",", ":"), ensure_ascii=False)}]
    message = {"jsonrpc": "2.0", "id": number, "result": {"content": content, "structuredContent": result}}
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False) + "\n"


def shown(line: str | None) -> Any:
    """The structured content of a line that left, after a check that its text says the same."""
    assert line is not None
    result = json.loads(line)["result"]
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    return result["structuredContent"]


def shows(output_filter: OutputFilter, text: str) -> bool:
    """Whether a line with this text is withheld for an exact secret."""
    raised: list[str] = []
    with patch.object(output_filter, "_on_alarm", raised.append):
        withheld = output_filter.filtered(answer({"text": text})) is None
    assert raised == (["output_filter.exact"] if withheld else [])
    return withheld


def knowing(*secrets: str) -> OutputFilter:
    output_filter = OutputFilter()
    for secret in secrets:
        output_filter.add_secret(Secret(secret))
    return output_filter


@pytest.mark.parametrize("secret", [SECRET, PLAIN_SECRET, "0123456789", "Ünï-ç0dé-9471-secret"])
@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS.keys())
def test_a_known_secret_is_found_in_each_encoding(encode: Callable[[str], str], secret: str) -> None:
    text = f"before {encode(secret)} after"
    assert not shows(OutputFilter(), text)
    assert shows(knowing(secret), text)


def test_there_are_thirty_encodings_and_more() -> None:
    assert len({encode(PLAIN_SECRET) for encode in ENCODINGS.values()}) >= 30


OUTER = ("hex", "base64", "URL-safe base64", "base32", "percent", "entities", "unicode escapes", "hex escapes", "JSON")


NESTED = [
    (outer, inner)
    for outer in OUTER
    for inner, encode in ENCODINGS.items()
    # The bytes of other scripts' digits are not read back.
    if encode(PLAIN_SECRET).isascii() or outer in ("entities", "unicode escapes", "JSON")
]


@pytest.mark.parametrize(("outer", "inner"), NESTED)
def test_an_encoding_within_an_encoding_is_found(outer: str, inner: str) -> None:
    encoded = ENCODINGS[inner](PLAIN_SECRET)
    assert shows(knowing(PLAIN_SECRET), f"x {ENCODINGS[outer](encoded)} y")


@given(
    secret=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=16, max_size=60).filter(
        lambda text: sum(c.isalnum() for c in text) >= 12
    ),
    before=st.binary(max_size=7),
    after=st.binary(max_size=7),
)
def test_base64_is_found_whatever_stands_around_the_secret(secret: str, before: bytes, after: bytes) -> None:
    output_filter = knowing(secret)
    around = before + secret.encode() + after
    assert shows(output_filter, base64.b64encode(around).decode())
    assert shows(output_filter, base64.urlsafe_b64encode(around).decode())


ORDINARY = "status approved user_id quote_0123456789abcdef ABCDEFGHIJKLMNOPQRSTUVWXYZ= 4111 balance"


@pytest.mark.parametrize("length", range(12))
def test_a_short_secret_does_not_make_every_line_suspect(length: int) -> None:
    # What a needle of a few characters finds is chance: `AAAA` is in most base64.
    assert not shows(knowing("\x7f" * length), ORDINARY + base64.b64encode(b"\x7f" * 3).decode())


@pytest.mark.parametrize("length", range(4, 12))
def test_a_short_secret_is_still_found_in_clear(length: int) -> None:
    secret = "q7Zk-w0Xv_9J"[:length]
    assert shows(knowing(secret), f"see {secret}.")


def test_of_a_thousand_secrets_each_is_found() -> None:
    secrets = [f"{number:04d}-Zr8kQ2wVn5-{number * 7919 % 9973:04d}" for number in range(1000)]
    output_filter = knowing(*secrets)
    assert all(shows(output_filter, f"x{ENCODINGS['base64'](secret)}") for secret in secrets[::50])
    assert not shows(output_filter, ORDINARY)


def test_a_line_of_letters_beyond_ascii_is_looked_at_as_well() -> None:
    assert shows(knowing(PLAIN_SECRET), f"é{PLAIN_SECRET}‰")


def test_an_expired_secret_is_looked_for_five_minutes_longer_and_then_forgotten(clock: Clock) -> None:
    output_filter = OutputFilter(clock=clock)
    output_filter.add_secret(Secret("the-partner-key"))
    output_filter.add_secret(Secret("the-first-token"), clock.now + 900)
    output_filter.add_secret(Secret("the-second-token"), clock.now + 1800)
    clock.advance(900 + GRACE_SECONDS - 1)
    assert shows(output_filter, "the-first-token")
    clock.advance(1)
    assert not shows(output_filter, "the-first-token")
    assert shows(output_filter, "the-partner-key")
    assert shows(output_filter, "the-second-token")


def test_what_two_secrets_have_in_common_is_found_while_one_is_known(clock: Clock) -> None:
    output_filter = OutputFilter(clock=clock)
    output_filter.add_secret(Secret("drawer-of-secrets"), clock.now)
    output_filter.add_secret(Secret("drawer-of-secrets"[::-1]))
    clock.advance(GRACE_SECONDS + 1)
    assert shows(output_filter, "drawer-of-secrets")


def test_learning_again_never_shortens_a_secrets_time(clock: Clock) -> None:
    output_filter = OutputFilter(clock=clock)
    output_filter.add_secret(Secret("the-partner-key"))
    output_filter.add_secret(Secret("the-partner-key"), clock.now)
    output_filter.add_secret(Secret("the-first-token"), clock.now + 9000)
    output_filter.add_secret(Secret("the-first-token"), clock.now + 1)
    clock.advance(5000)
    assert shows(output_filter, "the-partner-key")
    assert shows(output_filter, "the-first-token")


def test_a_secret_that_is_said_to_be_expired_is_looked_for_all_the_same(clock: Clock) -> None:
    output_filter = OutputFilter(clock=clock)
    output_filter.add_secret(Secret("the-first-token"), clock.now)
    assert shows(output_filter, "the-first-token")


def test_a_days_sessions_do_not_pile_up(clock: Clock) -> None:
    output_filter = OutputFilter(clock=clock)
    output_filter.add_secret(Secret("the-partner-key"))
    for n in range(96):
        output_filter.add_secret(Secret(f"token-number-{n}"), clock.now + 900)
        clock.advance(900)
    assert sum(shows(output_filter, f"of token-number-{n}.") for n in range(96)) <= 2


def test_a_persons_value_is_known_while_it_is_passed_on_and_a_minute_longer(clock: Clock) -> None:
    output_filter = OutputFilter(clock=clock)
    with output_filter.temporarily("TEST-190642"):
        assert shows(output_filter, "of TEST-190642.")
        assert shows(output_filter, "of test 1906 42.")
    assert shows(output_filter, "of TEST-190642.")
    clock.advance(UNDER_WAY_SECONDS)
    assert not shows(output_filter, "of TEST-190642.")


def test_two_calls_with_the_same_value_know_it_until_both_are_over(clock: Clock) -> None:
    output_filter = OutputFilter(clock=clock)
    with output_filter.temporarily("TEST-190642"):
        with output_filter.temporarily("TEST-190642"):
            pass
        clock.advance(UNDER_WAY_SECONDS + 1)
        assert shows(output_filter, "TEST-190642")
    clock.advance(UNDER_WAY_SECONDS + 1)
    assert not shows(output_filter, "TEST-190642")


def test_a_value_that_is_a_secret_already_stays_one(clock: Clock) -> None:
    output_filter = OutputFilter(clock=clock)
    output_filter.add_secret(Secret("key-190642"))
    with output_filter.temporarily("key-190642"):
        pass
    clock.advance(UNDER_WAY_SECONDS + 1)
    assert shows(output_filter, "key-190642")


@pytest.mark.parametrize("value", ["", "1", "12345", "machines", "jsonrpc", "TEST-abc", "a1b2c3"])
def test_a_value_that_says_too_little_withholds_no_other_line(value: str) -> None:
    output_filter = OutputFilter()
    with output_filter.temporarily(value):
        assert output_filter.filtered(answer({"text": "TEST-abc 12345 a1b2c3"})) is not None


def test_a_pattern_is_masked_and_counted_and_the_rest_delivered() -> None:
    output_filter, number = OutputFilter(), card_number()
    found = shown(output_filter.filtered(answer({"a": f"pay with {number}!", "b": "as it is"})))
    assert found == {"a": f"pay with •••• {number[-4:]}!", "b": "as it is"}
    assert output_filter.masked == 2


def test_an_innocent_line_leaves_byte_by_byte_as_it_came() -> None:
    line = '{"jsonrpc": "2.0",  "id": 1, "result": {"n": 1.50, "t": "\\u00e9", "b": 1e400}}'
    assert OutputFilter().filtered(line) == line


def test_an_expected_value_is_shown_whole_and_anywhere_else_masked() -> None:
    output_filter, number = OutputFilter(), card_number()
    output_filter.allow(1, [number])
    found = shown(
        output_filter.filtered(answer({"memo": number, "say": f"memo {number}", "list": [number, f" {number}"]}))
    )
    masked = f"•••• {number[-4:]}"
    assert found == {"memo": number, "say": f"memo {masked}", "list": [number, f" {masked}"]}


def test_an_expected_value_is_forgotten_once_the_answer_left() -> None:
    output_filter, number = OutputFilter(), card_number()
    output_filter.allow(1, [number])
    assert shown(output_filter.filtered(answer({"memo": number}))) == {"memo": number}
    assert shown(output_filter.filtered(answer({"memo": number})))["memo"] == f"•••• {number[-4:]}"


@pytest.mark.parametrize(("asked", "answered"), [(1, 2), (1, "1"), ("1", 1), ("a", "b")])
def test_an_expected_value_is_for_one_answer_alone(asked: int | str, answered: int | str) -> None:
    output_filter, number = OutputFilter(), card_number()
    output_filter.allow(asked, [number])
    assert shown(output_filter.filtered(answer({"memo": number}, answered)))["memo"] != number
    assert shown(output_filter.filtered(answer({"memo": number}, asked)))["memo"] == number


def test_what_is_no_answer_and_no_question_shows_no_expected_value_and_uses_none_up() -> None:
    output_filter, number = OutputFilter(), card_number()
    output_filter.allow(1, [number])
    message = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"message": number}}
    assert number not in (output_filter.filtered(json.dumps(message, separators=(",", ":"))) or number)
    assert shown(output_filter.filtered(answer({"memo": number})))["memo"] == number


def test_a_question_on_the_way_to_an_answer_shows_what_is_expected_and_uses_none_up() -> None:
    output_filter, number, other = OutputFilter(), card_number(), card_number()
    output_filter.allow(7, [f"Withdraw to {number}?", number])
    for asked, left in ((f"Withdraw to {number}?", True), (f"Withdraw to {other}?", False), (f"To {number}?", False)):
        message = {"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {"message": asked}}
        line = json.dumps(message, separators=(",", ":"))
        assert (output_filter.filtered(line) == line) is left
    assert shown(output_filter.filtered(answer({"memo": number}, 7)))["memo"] == number
    line = line.replace(f"To {number}?", f"Withdraw to {number}?")
    assert output_filter.filtered(line) != line


def test_an_expected_secret_is_withheld_all_the_same() -> None:
    output_filter = knowing(SECRET)
    output_filter.allow(1, [SECRET])
    assert output_filter.filtered(answer({"memo": SECRET})) is None


def test_requests_that_are_never_answered_do_not_pile_up() -> None:
    output_filter, number = OutputFilter(), card_number()
    for request in range(MOST_ALLOWED + 10):
        output_filter.allow(request, [number])
    assert len(output_filter._allowed) == MOST_ALLOWED
    assert shown(output_filter.filtered(answer({"memo": number}, 0)))["memo"] != number
    assert shown(output_filter.filtered(answer({"memo": number}, 500)))["memo"] == number


def test_what_the_client_finds_its_answer_by_is_left_as_it_is() -> None:
    output_filter, number = OutputFilter(), card_number()
    for chosen in (int(number), number):
        found = json.loads(output_filter.filtered(answer({"text": number}, chosen)) or "{}")
        assert found["id"] == chosen
        told = {"jsonrpc": "2.0", "method": "notifications/progress"}
        line = json.dumps({**told, "params": {"progressToken": chosen, "message": number}})
        params = json.loads(output_filter.filtered(line) or "{}")["params"]
        assert params == {"progressToken": chosen, "message": f"•••• {number[-4:]}"}


@pytest.mark.parametrize("part", ["_contains_secret", "_with_masks", "_take_allowed"])
def test_a_guard_that_fails_lets_nothing_pass_and_raises_the_alarm(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError

    raised: list[str] = []
    output_filter = OutputFilter(raised.append)
    monkeypatch.setattr(OutputFilter, part, broken)
    assert output_filter.filtered(answer({"text": card_number()})) is None
    assert raised == ["output_filter.failed"]


def test_a_line_that_is_no_json_is_not_let_pass_where_it_would_be_masked() -> None:
    output_filter = OutputFilter()
    assert output_filter.filtered(f'{{"a": "{card_number()}"') is None


def test_an_alarm_that_can_not_be_raised_does_not_let_the_line_pass(caplog: pytest.LogCaptureFixture) -> None:
    def deaf(code: str) -> None:
        raise OSError(SECRET)

    output_filter = OutputFilter(deaf)
    output_filter.add_secret(Secret(SECRET))
    assert output_filter.filtered(answer({"text": SECRET})) is None
    assert SECRET not in caplog.text
    assert "OSError" in caplog.text


def test_a_line_that_is_too_long_to_be_looked_at_is_withheld_without_an_alarm() -> None:
    raised: list[str] = []
    output_filter = OutputFilter(raised.append)
    overhead = len('{"a":""}')
    assert output_filter.filtered(json.dumps({"a": "x" * (MAX_LINE - overhead)}, separators=(",", ":"))) is not None
    assert output_filter.filtered(json.dumps({"a": "x" * (MAX_LINE - overhead + 1)}, separators=(",", ":"))) is None
    assert raised == []
    assert module.MAX_LINE == 256 * 1024


def test_a_text_that_holds_a_secret_is_not_to_be_kept_either() -> None:
    alarms: list[str] = []
    output_filter = OutputFilter(alarms.append)
    output_filter.add_secret(Secret("kept-token-canary-1234"))
    assert not output_filter.contains_secret("an ordinary text")
    assert output_filter.contains_secret(f"to be kept: {base64.b64encode(b'kept-token-canary-1234').decode()}")
    assert alarms == ["output_filter.exact"]
