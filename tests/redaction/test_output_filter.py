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
from machines_mcp.redaction.detectors import needs_full_search
from machines_mcp.redaction.output_filter import GRACE_SECONDS, MAX_LINE, UNDER_WAY_SECONDS, OutputFilter
from machines_mcp.redaction.secret import Secret
from tests.support.card_numbers import card_number
from tests.support.clock import Clock
from tests.support.encoded import ENCODINGS

SECRET = 'mk-test_9f"2\\k+Zq7/LwA0=='
PLAIN_SECRET = "mst_Qw7rT2pLx9Vb4Nc8Kd1Z"


def response_line(result: Any, number: int | str = 1) -> str:
    """Return a line as the SDK writes it, with the result as text and as structured content."""
    content = [{"type": "text", "text": json.dumps(result, separators=(",", ":"), ensure_ascii=False)}]
    message = {"jsonrpc": "2.0", "id": number, "result": {"content": content, "structuredContent": result}}
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False) + "\n"


def shown(line: str | None) -> Any:
    """Return the structured content of a filtered line, after checking that its text says the same."""
    assert line is not None
    result = json.loads(line)["result"]
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    return result["structuredContent"]


def shows(output_filter: OutputFilter, text: str) -> bool:
    """Whether a line with this text is withheld because of an exact secret."""
    raised: list[str] = []
    with patch.object(output_filter, "_on_alarm", raised.append):
        withheld = output_filter.filtered(response_line({"text": text})) is None
    assert raised == (["output_filter.exact"] if withheld else [])
    return withheld


def filter_with(*secrets: str) -> OutputFilter:
    output_filter = OutputFilter()
    for secret in secrets:
        output_filter.add_secret(Secret(secret))
    return output_filter


@pytest.mark.parametrize("secret", [SECRET, PLAIN_SECRET, "0123456789", "Ünï-ç0dé-9471-secret"])
@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS.keys())
def test_known_secret_is_found_in_each_encoding(encode: Callable[[str], str], secret: str) -> None:
    text = f"before {encode(secret)} after"
    assert not shows(OutputFilter(), text)
    assert shows(filter_with(secret), text)


def test_there_are_at_least_thirty_encodings() -> None:
    assert len({encode(PLAIN_SECRET) for encode in ENCODINGS.values()}) >= 30


OUTER = ("hex", "base64", "URL-safe base64", "base32", "percent", "entities", "unicode escapes", "hex escapes", "JSON")


NESTED = [
    (outer, inner)
    for outer in OUTER
    for inner, encode in ENCODINGS.items()
    # The bytes of digits in other scripts are not decoded.
    if encode(PLAIN_SECRET).isascii() or outer in ("entities", "unicode escapes", "JSON")
]


@pytest.mark.parametrize(("outer", "inner"), NESTED)
def test_encoding_within_an_encoding_is_found(outer: str, inner: str) -> None:
    encoded = ENCODINGS[inner](PLAIN_SECRET)
    assert shows(filter_with(PLAIN_SECRET), f"x {ENCODINGS[outer](encoded)} y")


@given(
    secret=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=16, max_size=60).filter(
        lambda text: sum(c.isalnum() for c in text) >= 12
    ),
    before=st.binary(max_size=7),
    after=st.binary(max_size=7),
)
def test_base64_is_found_regardless_of_the_surrounding_text(secret: str, before: bytes, after: bytes) -> None:
    output_filter = filter_with(secret)
    around = before + secret.encode() + after
    assert shows(output_filter, base64.b64encode(around).decode())
    assert shows(output_filter, base64.urlsafe_b64encode(around).decode())


ORDINARY = "status approved user_id quote_0123456789abcdef ABCDEFGHIJKLMNOPQRSTUVWXYZ= 4111 balance"


@pytest.mark.parametrize("length", range(12))
def test_short_secret_does_not_withhold_unrelated_lines(length: int) -> None:
    # A match of a few characters is chance: `AAAA` occurs in most base64.
    assert not shows(filter_with("\x7f" * length), ORDINARY + base64.b64encode(b"\x7f" * 3).decode())


@pytest.mark.parametrize("length", range(4, 12))
def test_short_secret_is_found_in_plain_text(length: int) -> None:
    secret = "q7Zk-w0Xv_9J"[:length]
    assert shows(filter_with(secret), f"see {secret}.")


def test_each_of_a_thousand_secrets_is_found() -> None:
    secrets = [f"{number:04d}-Zr8kQ2wVn5-{number * 7919 % 9973:04d}" for number in range(1000)]
    output_filter = filter_with(*secrets)
    assert all(shows(output_filter, f"x{ENCODINGS['base64'](secret)}") for secret in secrets[::50])
    assert not shows(output_filter, ORDINARY)


def test_line_with_non_ascii_letters_is_searched() -> None:
    assert shows(filter_with(PLAIN_SECRET), f"é{PLAIN_SECRET}‰")


def test_expired_secret_is_searched_for_five_more_minutes(clock: Clock) -> None:
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


def test_shared_part_of_two_secrets_is_found_while_one_is_known(clock: Clock) -> None:
    output_filter = OutputFilter(clock=clock)
    output_filter.add_secret(Secret("drawer-of-secrets"), clock.now)
    output_filter.add_secret(Secret("drawer-of-secrets"[::-1]))
    clock.advance(GRACE_SECONDS + 1)
    assert shows(output_filter, "drawer-of-secrets")


def test_adding_a_secret_again_never_shortens_its_time(clock: Clock) -> None:
    output_filter = OutputFilter(clock=clock)
    output_filter.add_secret(Secret("the-partner-key"))
    output_filter.add_secret(Secret("the-partner-key"), clock.now)
    output_filter.add_secret(Secret("the-first-token"), clock.now + 9000)
    output_filter.add_secret(Secret("the-first-token"), clock.now + 1)
    clock.advance(5000)
    assert shows(output_filter, "the-partner-key")
    assert shows(output_filter, "the-first-token")


def test_secret_added_as_expired_is_still_searched(clock: Clock) -> None:
    output_filter = OutputFilter(clock=clock)
    output_filter.add_secret(Secret("the-first-token"), clock.now)
    assert shows(output_filter, "the-first-token")


def test_expired_sessions_do_not_accumulate(clock: Clock) -> None:
    output_filter = OutputFilter(clock=clock)
    output_filter.add_secret(Secret("the-partner-key"))
    for n in range(96):
        output_filter.add_secret(Secret(f"token-number-{n}"), clock.now + 900)
        clock.advance(900)
    assert sum(shows(output_filter, f"of token-number-{n}.") for n in range(96)) <= 2


def test_temporary_value_is_known_during_the_call_and_a_minute_after(clock: Clock) -> None:
    output_filter = OutputFilter(clock=clock)
    with output_filter.temporarily("TEST-190642"):
        assert shows(output_filter, "of TEST-190642.")
        assert shows(output_filter, "of test 1906 42.")
    assert shows(output_filter, "of TEST-190642.")
    clock.advance(UNDER_WAY_SECONDS)
    assert not shows(output_filter, "of TEST-190642.")


def test_concurrent_calls_keep_a_shared_value_until_both_end(clock: Clock) -> None:
    output_filter = OutputFilter(clock=clock)
    with output_filter.temporarily("TEST-190642"):
        with output_filter.temporarily("TEST-190642"):
            pass
        clock.advance(UNDER_WAY_SECONDS + 1)
        assert shows(output_filter, "TEST-190642")
    clock.advance(UNDER_WAY_SECONDS + 1)
    assert not shows(output_filter, "TEST-190642")


def test_temporary_value_that_is_a_secret_stays_a_secret(clock: Clock) -> None:
    output_filter = OutputFilter(clock=clock)
    output_filter.add_secret(Secret("key-190642"))
    with output_filter.temporarily("key-190642"):
        pass
    clock.advance(UNDER_WAY_SECONDS + 1)
    assert shows(output_filter, "key-190642")


@pytest.mark.parametrize("value", ["", "1", "12345", "machines", "jsonrpc", "TEST-abc", "a1b2c3"])
def test_too_common_value_withholds_no_line(value: str) -> None:
    output_filter = OutputFilter()
    with output_filter.temporarily(value):
        assert output_filter.filtered(response_line({"text": "TEST-abc 12345 a1b2c3"})) is not None


def test_pattern_is_masked_and_counted_and_the_rest_is_sent() -> None:
    output_filter, number = OutputFilter(), card_number()
    found = shown(output_filter.filtered(response_line({"a": f"pay with {number}!", "b": "as it is"})))
    assert found == {"a": f"pay with •••• {number[-4:]}!", "b": "as it is"}
    assert output_filter.masked == 2


def test_harmless_line_is_sent_unchanged() -> None:
    line = '{"jsonrpc": "2.0",  "id": 1, "result": {"n": 1.50, "t": "\\u00e9", "b": 1e400}}'
    assert OutputFilter().filtered(line) == line


def test_exempt_value_is_shown_whole_and_masked_elsewhere() -> None:
    output_filter, number = OutputFilter(), card_number()
    line = response_line({"memo": number, "say": f"memo {number}", "list": [number, f" {number}"]})
    found = shown(output_filter.filtered(line, frozenset({number})))
    masked = f"•••• {number[-4:]}"
    assert found == {"memo": number, "say": f"memo {masked}", "list": [number, f" {masked}"]}
    assert shown(output_filter.filtered(line))["memo"] == masked


def test_exempt_question_is_shown_whole() -> None:
    output_filter, number, other = OutputFilter(), card_number(), card_number()
    exempt = frozenset({f"Withdraw to {number}?", number})
    for asked, left in ((f"Withdraw to {number}?", True), (f"Withdraw to {other}?", False), (f"To {number}?", False)):
        message = {"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {"message": asked}}
        line = json.dumps(message, separators=(",", ":"))
        assert (output_filter.filtered(line, exempt) == line) is left


def test_exempt_secret_is_still_withheld() -> None:
    assert filter_with(SECRET).filtered(response_line({"memo": SECRET}), frozenset({SECRET})) is None


def test_request_id_and_progress_token_are_unchanged() -> None:
    output_filter, number = OutputFilter(), card_number()
    for chosen in (int(number), number):
        found = json.loads(output_filter.filtered(response_line({"text": number}, chosen)) or "{}")
        assert found["id"] == chosen
        told = {"jsonrpc": "2.0", "method": "notifications/progress"}
        line = json.dumps({**told, "params": {"progressToken": chosen, "message": number}})
        params = json.loads(output_filter.filtered(line) or "{}")["params"]
        assert params == {"progressToken": chosen, "message": f"•••• {number[-4:]}"}


@pytest.mark.parametrize("part", ["_contains_secret", "_with_masks"])
def test_failing_filter_withholds_the_line_and_raises_the_alarm(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError

    raised: list[str] = []
    output_filter = OutputFilter(raised.append)
    monkeypatch.setattr(OutputFilter, part, broken)
    assert output_filter.filtered(response_line({"text": card_number()})) is None
    assert raised == ["output_filter.failed"]


def test_invalid_json_that_would_be_masked_is_withheld() -> None:
    output_filter = OutputFilter()
    assert output_filter.filtered(f'{{"a": "{card_number()}"') is None


def test_line_is_withheld_even_if_the_alarm_fails(caplog: pytest.LogCaptureFixture) -> None:
    def deaf(code: str) -> None:
        raise OSError(SECRET)

    output_filter = OutputFilter(deaf)
    output_filter.add_secret(Secret(SECRET))
    assert output_filter.filtered(response_line({"text": SECRET})) is None
    assert SECRET not in caplog.text
    assert "OSError" in caplog.text


def test_too_long_line_is_withheld_without_an_alarm() -> None:
    raised: list[str] = []
    output_filter = OutputFilter(raised.append)
    overhead = len('{"a":""}')
    assert output_filter.filtered(json.dumps({"a": "x" * (MAX_LINE - overhead)}, separators=(",", ":"))) is not None
    assert output_filter.filtered(json.dumps({"a": "x" * (MAX_LINE - overhead + 1)}, separators=(",", ":"))) is None
    assert raised == []
    assert module.MAX_LINE == 256 * 1024


def test_text_with_a_secret_must_not_be_stored() -> None:
    alarms: list[str] = []
    output_filter = OutputFilter(alarms.append)
    output_filter.add_secret(Secret("kept-token-canary-1234"))
    assert not output_filter.contains_secret("an ordinary text")
    assert output_filter.contains_secret(f"to be kept: {base64.b64encode(b'kept-token-canary-1234').decode()}")
    assert alarms == ["output_filter.exact"]


def test_storable_outcome_is_masked_except_for_exempt_values() -> None:
    number, other = card_number(), card_number()
    outcome = {"note": f"paid with {number}", "id": other, "next_steps": []}
    kept = OutputFilter().storable(outcome, {other})
    assert kept is not None
    assert number not in kept
    assert json.loads(kept)["id"] == other
    assert OutputFilter().storable(outcome, None) == json.dumps(outcome)
    plain = {"status": "ready", "amount_cents": 2500, "next_steps": []}
    assert OutputFilter().storable(plain, ()) == json.dumps(plain)


@pytest.mark.parametrize(
    "text",
    [
        "tax id A123456789",
        "ssn x123456789x",
        "social security no 123456789a",
        "card security number 123",
        "card security value: 4567",
    ],
)
def test_number_with_a_name_is_masked_in_lines_and_in_stored_outcomes(text: str) -> None:
    output_filter = OutputFilter()
    digits = "".join(character for character in text if character.isdigit())
    kept, line = output_filter.storable({"note": text}, ()), output_filter.filtered(json.dumps({"note": text}))
    assert kept is not None
    assert line is not None
    assert digits not in kept
    assert digits not in line


def test_outcome_with_a_secret_is_not_storable() -> None:
    alarms: list[str] = []
    output_filter = OutputFilter(alarms.append)
    output_filter.add_secret(Secret(SECRET))
    for exempt in (None, (), (SECRET,)):
        assert output_filter.storable({"note": SECRET}, exempt) is None
    assert alarms == ["output_filter.exact"] * 3


def test_outcome_is_not_storable_if_masking_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError

    alarms: list[str] = []
    monkeypatch.setattr(module, "MessageMasking", broken)
    assert OutputFilter(alarms.append).storable({"note": "x"}, ()) is None
    assert alarms == ["output_filter.failed"]


def test_text_that_would_be_cut_is_hidden_if_it_holds_a_secret() -> None:
    raised: list[str] = []
    output_filter = OutputFilter(raised.append)
    output_filter.add_secret(Secret(PLAIN_SECRET))
    for text in (PLAIN_SECRET, f"see {base64.b64encode(PLAIN_SECRET.encode()).decode()} there"):
        assert output_filter.mask_text("user-1", text, cut=True) == "•••"
    assert raised == ["output_filter.exact"] * 2
    # Whole, it withholds the line.
    assert output_filter.mask_text("user-1", PLAIN_SECRET, cut=False) == PLAIN_SECRET


def test_look_masks_card_numbers_and_the_users_own_data() -> None:
    output_filter, number = OutputFilter(), card_number()
    output_filter.identity_echoes.remember("user-1", ["Lovelace"])
    text = f"Lovelace paid with {number}"
    assert output_filter.mask_text("user-1", text, cut=False) == f"••• paid with •••• {number[-4:]}"
    assert output_filter.mask_text("user-2", text, cut=False) == f"Lovelace paid with •••• {number[-4:]}"


LONG = "a long and harmless sentence about cards, " * 200


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of the lines that are searched."""
    lines: list[str] = []
    search = needs_full_search

    def noted(line: str, plain: bytes) -> bool:
        lines.append(line)
        return search(line, plain)

    monkeypatch.setattr(module, "needs_full_search", noted)
    return lines


def test_long_response_in_which_nothing_is_found_is_searched_once(searched: list[str]) -> None:
    output_filter, lines = OutputFilter(), [response_line({"text": LONG}, number) for number in (1, 2, 3)]
    assert [output_filter.filtered(line) for line in lines] == lines
    assert searched == lines[:1]


def test_long_response_is_searched_again_for_a_new_secret(searched: list[str]) -> None:
    alarms: list[str] = []
    output_filter, line = OutputFilter(alarms.append), response_line({"text": LONG + PLAIN_SECRET})
    assert output_filter.filtered(line) == output_filter.filtered(line) == line
    output_filter.add_secret(Secret(PLAIN_SECRET))
    assert output_filter.filtered(line) is output_filter.filtered(line) is None
    assert alarms == ["output_filter.exact"] * 2
    assert len(searched) == 1


def test_long_response_with_a_mask_or_an_exempt_value_is_searched_each_time() -> None:
    output_filter, number = OutputFilter(), card_number()
    lines = [response_line({"text": LONG, "id": number}, request) for request in range(4)]
    exempt = [frozenset({number}) if request in (1, 3) else frozenset[str]() for request in range(4)]
    found = [number in (output_filter.filtered(*each) or "") for each in zip(lines, exempt, strict=True)]
    assert found == [False, True, False, True]


@pytest.mark.parametrize("number", [card_number(), int(card_number()), 1_234_567_890], ids=["text", "card", "long"])
def test_long_response_to_a_request_with_a_telling_id_is_searched_each_time(
    searched: list[str], number: int | str
) -> None:
    output_filter, line = OutputFilter(), response_line({"text": LONG}, number)
    assert output_filter.filtered(line) == output_filter.filtered(line) == line
    assert searched == [line, line]


def test_only_a_few_verdicts_are_kept(searched: list[str]) -> None:
    output_filter, lines = OutputFilter(), [response_line({"text": f"{LONG}{n}"}) for n in range(module.MAX_CLEAN + 1)]
    assert [output_filter.filtered(line) for line in lines * 2] == lines * 2
    assert searched == lines * 2


def test_constant_text_of_ours_is_not_searched_and_hides_nothing_around_it() -> None:
    constant, number = f"data:{card_number()}", card_number()
    output_filter = OutputFilter(constant=constant)
    output_filter.add_secret(Secret(SECRET))

    def line(text: str) -> str:
        return json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"icon": constant, "text": text}})

    assert output_filter.filtered(line("harmless")) == line("harmless")
    encoded = base64.b64encode(SECRET.encode()).decode()
    for text in (SECRET, f"{constant} {SECRET}", f"1234{constant}={encoded}", f"{constant}/{encoded}"):
        assert output_filter.filtered(line(text)) is None
    for text in (number, f"{constant} {number}"):
        assert number not in (output_filter.filtered(line(text)) or number)
