from __future__ import annotations

import json
import random
import secrets
import uuid
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.redaction.detectors import HIDDEN, masked_text, needs_full_search
from machines_mcp.redaction.folding import squeezed
from machines_mcp.redaction.message_masking import MessageMasking
from tests.support.card_numbers import card_number


def masked(message: Any, *exempt: str) -> Any:
    return MessageMasking(exempt).masked(message)


def test_card_number_keeps_its_last_four_digits() -> None:
    number = card_number()
    assert masked_text(f"a {number} b") == f"a •••• {number[-4:]} b"


def test_bare_number_becomes_a_string() -> None:
    number = card_number()
    for given_number in (int(number), float(number), -int(number)):
        assert masked({"n": given_number}) == {"n": f"•••• {number[-4:]}"}
    assert json.loads(json.dumps(masked([int(number), 1, 2.5, True, None]))) == [
        f"•••• {number[-4:]}",
        1,
        2.5,
        True,
        None,
    ]


def test_fraction_is_no_part_of_a_card_number() -> None:
    for fraction in (24.98123456789012, 40.12345678901234, 0.4111111111111111, 5e-324, 1.5e308):
        assert masked({"amount": fraction}) == {"amount": fraction}


def test_digits_before_an_exponent_are_judged() -> None:
    # A float is written without zeros at its end, and some numbers of 16 digits are none.
    number = next(number for number in iter(card_number, "") if repr(float(f"{number}e6")) == _with_exponent(number))
    assert masked([float(f"{number}e6")]) == [f"•••• {number[-4:]}"]


def _with_exponent(number: str) -> str:
    return f"{number[0]}.{number[1:]}e+{len(number) + 5}"


def test_object_key_is_masked() -> None:
    number = card_number()
    assert masked({number: 1}) == {f"•••• {number[-4:]}": 1}


def test_json_inside_a_text_stays_json() -> None:
    number = card_number()
    inner = {"pan": number, "n": int(number), "say": f'"{number}"\n', "deep": [{"x": number}]}
    content = [{"type": "text", "text": json.dumps(inner, indent=1), "annotations": {"a": number}}]
    (part,) = masked({"content": content})["content"]
    last = f"•••• {number[-4:]}"
    assert json.loads(part["text"]) == {"pan": last, "n": last, "say": f'"{last}"\n', "deep": [{"x": last}]}
    assert part["annotations"] == {"a": last}


@pytest.mark.parametrize("same", [True, False])
def test_structured_content_is_masked_independently_of_the_text(same: bool) -> None:
    number, other = card_number(), card_number()
    said = {"note": f"paid with {number}", "count": 1}
    structured = said if same else {"note": f"paid with {other}", "count": 1}
    masking = MessageMasking(())

    shown = masking.masked({"content": [{"type": "text", "text": json.dumps(said)}], "structuredContent": structured})

    last4 = (number if same else other)[-4:]
    assert json.loads(shown["content"][0]["text"]) == {"note": f"paid with •••• {number[-4:]}", "count": 1}
    assert shown["structuredContent"] == {"note": f"paid with •••• {last4}", "count": 1}
    assert masking.count == 2


def test_text_that_only_starts_like_json_is_masked_as_text() -> None:
    number = card_number()
    for text in (f"{{not json {number}", f"[{number}", f"{{{number}}}"):
        (part,) = masked({"contents": [{"text": text}]})["contents"]
        assert number not in part["text"]


def test_duplicate_key_in_a_foreign_text_does_not_hide_the_first_value() -> None:
    # Parsing would keep only the second value.
    number = card_number()
    found = masked({"content": [{"text": json.dumps({"merchant_name": f'{{"a":"{number}","a":"x"}}'})}]})
    assert number not in json.dumps(found)


ESCAPED = {
    "JSON": lambda s: "".join(f"\\u{ord(c):04x}" for c in s),
    "percent": lambda s: "".join(f"%{ord(c):02x}" for c in s),
    "entities": lambda s: "".join(f"&#{ord(c)};" for c in s),
    "one of them": lambda s: s[:5] + f"\\u{ord(s[5]):04x}" + s[6:],
    "twice": lambda s: "".join(f"%25{ord(c):02x}" for c in s),
}


@pytest.mark.parametrize("escape", ESCAPED.values(), ids=ESCAPED.keys())
def test_escapes_in_a_text_do_not_hide_a_card_number(escape: Any) -> None:
    assert masked_text(f"pay {escape(card_number())}") == HIDDEN
    assert masked_text(f"pay {escape('twenty 20 dollars 4111')}") != HIDDEN


CODE_KEYS = ("cvc", "CVC", "cvv", "cvc2", "CVV2", "csc", "securityCode", "card_security_code", "card-cvc", "cvcNumber")


@pytest.mark.parametrize("key", CODE_KEYS)
@pytest.mark.parametrize("value", ["123", "1234", 123, 1234, "\u0661\u0662\u0663"])
def test_security_code_is_masked_by_its_key(key: str, value: object) -> None:
    assert masked({key: value}) == {key: HIDDEN}


@pytest.mark.parametrize("key", ["code", "last4", "service", "cvcs_left", "zip", "amount_cents"])
def test_short_number_under_another_key_is_shown(key: str) -> None:
    assert masked({key: "123"}) == {key: "123"}


@pytest.mark.parametrize(
    "text",
    [
        *("CVC 123", "cvv: 1234", 'the "security code" is 123', "cvc2=123", "CSC is: 123"),
        *("cvc123", "CVV2123", "card_cvc_123", "\u5361cvc\u7801123", "securitycode1234"),
    ],
)
def test_security_code_is_masked_by_the_word_before_it(text: str) -> None:
    assert "123" not in masked_text(text)


def test_a_two_after_the_name_of_a_code_is_masked_if_it_may_be_its_first_digit() -> None:
    for text in ("cvc2026", "cvv2026", "cvc 2026", "CVC2123"):
        assert masked_text(text).rstrip(HIDDEN).strip().lower() in ("cvc", "cvv")
    assert masked_text("cvc2 026") == "cvc2 •••"
    assert masked_text("cvc21234") == "cvc2•••"


def test_security_code_is_masked_within_forty_characters_of_a_card() -> None:
    number = card_number()
    last = f"•••• {number[-4:]}"
    assert masked_text(f"{number} 123") == f"{last} {HIDDEN}"
    assert masked_text(f"123, {number}, 12/27") == f"{HIDDEN}, {last}, 12/27"
    assert masked_text(f"{number}{'x' * 37} 123") == f"{last}{'x' * 37} 123"
    assert masked_text(f"{number} 12") == f"{last} 12"


def test_security_code_is_masked_beside_a_card_number_in_an_object() -> None:
    number = card_number()
    last = f"•••• {number[-4:]}"
    found = masked({"a": number, "b": "123", "last4": number[-4:], "year": 2027, "c": {"d": "123"}, "e": "12"})
    assert found == {"a": last, "b": HIDDEN, "last4": number[-4:], "year": 2027, "c": {"d": "123"}, "e": "12"}
    assert masked({"a": "shop", "b": "123"}) == {"a": "shop", "b": "123"}


NATIONAL_IDS = ("123-45-6789", "123\u201345\u20116789")


@pytest.mark.parametrize("value", NATIONAL_IDS)
def test_social_security_number_is_masked_by_its_format(value: str) -> None:
    assert masked_text(f"of {value}, born") == f"of {HIDDEN}, born"


@pytest.mark.parametrize("key", ["ssn", "SSN", "nationalId", "national_id", "tax_id", "social_security_number", "itin"])
@pytest.mark.parametrize("value", ["123456789", 123456789, "123 45 6789", *NATIONAL_IDS])
def test_nine_digits_are_masked_under_a_national_id_key(key: str, value: object) -> None:
    assert masked({key: value}) == {key: HIDDEN}


@pytest.mark.parametrize("text", ["ssn 123456789", "SSN: 123 45 6789", "social security number 123456789"])
def test_nine_digits_are_masked_after_a_national_id_word(text: str) -> None:
    assert HIDDEN in masked_text(text)
    assert "6789" not in masked_text(text)


@pytest.mark.parametrize("text", ["123456789", "2026-11-22", "555-0100", "0123-45-67890", "a123-45-6789", "12-34-5678"])
def test_other_numbers_are_not_masked_as_national_ids(text: str) -> None:
    assert masked_text(text) == text


def test_exempt_string_is_shown_whole_only_as_itself() -> None:
    number = card_number()
    last = f"•••• {number[-4:]}"
    message = {"a": number, "b": [number], "c": f" {number}", number: 1}
    assert masked(message, number) == {"a": number, "b": [number], "c": f" {last}", number: 1}
    assert masked({"cvc": "123", "n": 123}, "123") == {"cvc": "123", "n": 123}


texts = st.text(st.sampled_from("0123456789 -.:/abcvsn\\u%\n"), max_size=60) | st.text(max_size=40)
keys = st.sampled_from(["cvc", "ssn", "securityCode", "status", "memo", "amount_cents"])
leaves = texts | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none()
messages = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))
numbers = st.builds(lambda: card_number()) | st.sampled_from(["123-45-6789", "123456789", "123"])


@given(st.recursive(leaves | numbers, lambda i: st.lists(i, max_size=4) | st.dictionaries(keys, i, max_size=4)))
def test_prefilter_skips_no_message_that_would_be_masked(message: Any) -> None:
    masking = MessageMasking(())
    masking.masked(message)
    for line in (json.dumps(message), json.dumps(message, ensure_ascii=False, separators=(",", ":"))):
        assert needs_full_search(line, squeezed(line)) or not masking.count


def quoted_line(text: str) -> str:
    return json.dumps({"memo": text}, separators=(",", ":"))


def test_prefilter_counts_the_digits_of_a_date_in_quotes_inside_a_text() -> None:
    # The digits of all three together are a card number.
    line = quoted_line(" ".join(("427415", '"2026-11-30"', "76")))
    assert masked(json.loads(line)) == {"memo": "•••• 3076"}
    assert needs_full_search(line, squeezed(line))


@pytest.mark.parametrize("form", ['"{}"', '"{}" 1', '1 "{}"', "{}"])
def test_prefilter_skips_no_id_that_would_be_masked(form: str) -> None:
    rng, hits = random.Random(secrets.randbits(32)), 0  # noqa: S311
    for _ in range(3000):
        token = "".join(rng.choices("0123456789a", k=32))
        text = form.format(str(uuid.UUID(token, version=4)))
        for line in (quoted_line(text), text if form == '"{}"' else quoted_line(text)):
            masking = MessageMasking(())
            masking.masked(json.loads(line))
            assert needs_full_search(line, squeezed(line)) or not masking.count, line
            hits += masking.count
    assert hits


def test_prefilter_passes_a_page_of_ids_with_long_rows_of_digits() -> None:
    one = "a1000000-0000-4000-8000-abcdefabcdef"
    assert masked(one) == one
    line = json.dumps([{"id": one, "at": "2031-01-02T03:04:05.678901Z"}] * 50, separators=(",", ":"))
    assert not needs_full_search(line, squeezed(line))


@given(messages)
def test_masked_message_is_json_of_the_same_shape(message: Any) -> None:
    found = json.loads(json.dumps(masked(message)))
    assert type(found) is type(message) or isinstance(found, str)
    if isinstance(message, list):
        assert len(found) == len(message)


@given(st.text(max_size=200))
def test_text_without_sensitive_numbers_is_unchanged(text: str) -> None:
    digits = sum(c.isdecimal() for c in text)
    if digits < 9 and not any(word in text.lower() for word in ("cv", "csc", "code")):
        assert masked_text(text) == text


exempted = st.one_of(
    st.uuids().map(str),
    st.integers(10**12, 10**19 - 1).map(str),
    st.builds(lambda: card_number()),
    st.binary(min_size=20, max_size=32).map(lambda raw: "0x" + raw.hex()),
    st.from_regex(r"[1-9A-HJ-NP-Za-km-z]{26,44}", fullmatch=True),
    st.integers(10**12, 2 * 10**12).map(str),
)


@given(st.lists(exempted, min_size=1, max_size=6))
def test_verbatim_ids_addresses_and_memos_are_unchanged(values: list[str]) -> None:
    message = {"list": [{"deposit_address": value, "memo": value} for value in values], "id": values[0]}
    assert masked(message, *values) == message


ORDINARY = st.one_of(
    st.uuids(version=4),
    st.binary(min_size=20, max_size=32).map(lambda raw: "0x" + raw.hex()),
    st.datetimes(datetime(1900, 1, 1), datetime(2199, 12, 31)).map(lambda moment: moment.isoformat() + "Z"),
    st.integers(0, 2 * 10**12),
    st.binary(min_size=16, max_size=16).map(lambda raw: "quote_" + raw.hex()),
)


@given(ORDINARY)
def test_ids_hashes_times_and_amounts_are_unchanged_anywhere(value: object) -> None:
    text = f"about {value}, as said"
    assert masked_text(text) == text


def test_number_never_crosses_values() -> None:
    number = card_number()
    groups = [number[at : at + 4] for at in range(0, 16, 4)]
    for message in (groups, [int(group) for group in groups], dict(zip("abcd", groups, strict=True)), list(number)):
        assert masked({"part": message}) == {"part": message}
    assert masked({"a": [number[:12], {"b": number[12:]}]}) == {"a": [number[:12], {"b": number[12:]}]}
