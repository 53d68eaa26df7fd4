from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.redaction.card_numbers import find_cards, is_card_number
from tests.support.card_numbers import card_number, check_digit

ISSUERS = {
    "Visa": ("4", (13, 16, 19)),
    "Mastercard": ("53", (16,)),
    "Mastercard, second series": ("2345", (16,)),
    "American Express": ("37", (15,)),
    "Diners Club": ("305", (14, 16, 19)),
    "Diners Club International": ("36", (14, 16)),
    "JCB": ("3530", (16, 19)),
    "Discover": ("6011", (16, 19)),
    "Discover, second series": ("65", (16,)),
    "UnionPay": ("62", (16, 17, 18, 19)),
    "Mir": ("2202", (16,)),
    "RuPay": ("60", (16,)),
    "Troy": ("9792", (16,)),
    "Maestro": ("6759", (13, 16, 19)),
}
KINDS = [(prefix, length) for prefix, lengths in ISSUERS.values() for length in lengths]


def found(text: str) -> list[str]:
    return [text[card.start : card.end] for card in find_cards(text)]


@pytest.mark.parametrize(("prefix", "length"), KINDS)
def test_number_of_each_issuer_and_length_is_found(prefix: str, length: int) -> None:
    number = card_number(prefix, length)
    assert found(f"the card {number}, please") == [number]


@pytest.mark.parametrize(("prefix", "length"), KINDS)
def test_number_with_one_wrong_digit_is_not_found(prefix: str, length: int) -> None:
    number = card_number(prefix, length)
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert not is_card_number(wrong)
    if not _holds_one(wrong):
        assert found(f"the card {wrong}, please") == []


@pytest.mark.parametrize("length", [11, 12, 20, 21])
def test_number_of_another_length_is_not_found(length: int) -> None:
    assert not is_card_number(card_number("4", length))


@pytest.mark.parametrize("prefix", ["0", "1", "7", "8412", "9", "31", "33"])
def test_number_of_no_issuer_is_not_found(prefix: str) -> None:
    assert not is_card_number(card_number(prefix, 16))


SEPARATORS = {
    "blank": " ",
    "dash": "-",
    "dot": ".",
    "underscore": "_",
    "no-break blank": "\u00a0",
    "no-break dash": "\u2011",
    "en dash": "\u2013",
    "thin blank": "\u2009",
    "zero-width blank": "\u200b",
    "soft hyphen": "\u00ad",
    "dash between blanks": " - ",
}


@pytest.mark.parametrize("size", [1, 2, 4, 6, 12])
@pytest.mark.parametrize("between", SEPARATORS.values(), ids=SEPARATORS.keys())
def test_number_is_found_across_separators(between: str, size: int) -> None:
    number = card_number()
    written = between.join(number[i : i + size] for i in range(0, 16, size))
    assert found(f"the card {written}, please") == [written]


@pytest.mark.parametrize("layout", [(4, 6, 5), (4, 4, 4, 3), (4, 7, 4)])
def test_number_is_found_in_printed_layouts(layout: tuple[int, ...]) -> None:
    number, parts, at = card_number("37", 15), [], 0
    for length in layout:
        parts.append(number[at : at + length])
        at += length
    assert found(" ".join(parts)) == [" ".join(parts)]


@pytest.mark.parametrize("zero", [0x660, 0x966, 0xFF10])
def test_number_is_found_in_digits_of_other_scripts(zero: int) -> None:
    written = card_number().translate({0x30 + n: zero + n for n in range(10)})
    assert found(f"the card {written}, please") == [written]


@pytest.mark.parametrize(
    "around",
    ["{}", "pan{}", "{}x", "card={};", "PAN: {}.", "{} 123", "12/27 {}", "{} 12/27 123", "0x{}", '"{}"', "{}\n123"],
)
def test_number_is_found_next_to_other_text(around: str) -> None:
    number = card_number()
    assert number in found(around.format(number))[0]


@pytest.mark.parametrize("around", ["{}123", "{}1227", "1227{}"])
def test_number_is_found_next_to_extra_digits(around: str) -> None:
    number = card_number("41", 16)
    text = around.format(number)
    assert found(text) == [text]
    # If two readings are possible, no digit is shown.
    assert find_cards(text)[0].last4 in (number[-4:], "")


def test_security_code_after_the_number_is_not_part_of_it() -> None:
    # One in ten is also a valid number of nineteen digits.
    for _ in range(100):
        number = card_number()
        assert [card.last4 for card in find_cards(f"{number} 123")] == [number[-4:]]
        assert [card.last4 for card in find_cards(f"{number[:4]} {number[4:]} 12")] == [number[-4:]]


def test_two_numbers_are_found_separately() -> None:
    one, other = card_number(), card_number("53", 16)
    assert found(f"{one} or {other}") == [one, other]
    assert found(f"{one} {other}") == [one, other]


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T10:20:30.123456Z",
        "2026-11-22 10:20:30,123456+01:00",
        "{uuid}",
        "0x{number}abcdef{number}",
        "{hex}",
        "quote_{hex}",
        "1792137600123",
        "1 2 3 4 5 6 7 8 9 10 11 12",
        "10.0.0.1 192.168.100.200",
        "$1,234.50 of $4,000,000.00",
    ],
)
def test_text_full_of_digits_without_a_card_number_is_unchanged(text: str) -> None:
    for _ in range(50):
        number = card_number()
        uuid = f"{number[:7]}a-{number[8:12]}-4{number[13:]}-8f11-b1c2d3e4f567"
        assert found(text.format(number=number, uuid=uuid, hex=f"{number}abcdef{number}")) == []


@pytest.mark.parametrize(
    "piece", ["4", "1 ", "9999     ", "{} ", "{}a", "2026-11-22a{}a", "{}/", "\u2460", "abcdef{}abcdef", "4T"]
)
def test_time_grows_in_proportion_to_the_text(piece: str) -> None:
    """Count the work instead of measuring time: each digit is looked at a bounded number of times."""
    piece = piece.format(card_number())
    counted = []
    for times in (200, 400):
        reads = 0

        def count(frame: object, event: str, argument: object) -> None:
            nonlocal reads
            reads += 1

        text = piece * times
        sys.setprofile(count)
        try:
            find_cards(text)
        finally:
            sys.setprofile(None)
        counted.append(reads)
    assert counted[1] <= counted[0] * 2.2 + 100


def _holds_one(text: str) -> bool:
    """Whether any 13 to 19 consecutive digits, ignoring everything except letters, could be a card number. Slow
    reference."""
    digits = ""
    for c in text + "x":
        if c.isdecimal():
            digits += str(int(c))
        elif c.isalpha():
            windows = (digits[i : i + n] for n in range(13, 20) for i in range(len(digits) - n + 1))
            if any(check_digit(window[:-1]) == window[-1] for window in windows):
                return True
            digits = ""
    return False


@given(st.text(st.sampled_from("0123456789 .-:/,xyé"), max_size=80))
def test_nothing_is_found_in_text_without_a_card_number(text: str) -> None:
    if not _holds_one(text):
        assert find_cards(text) == []


@given(st.text(max_size=30), st.text(max_size=30), st.sampled_from(KINDS))
def test_number_is_found_in_any_text(before: str, after: str, kind: tuple[str, int]) -> None:
    number = card_number(*kind)
    text = f"{before}\n{number}\n{after}"
    place = range(len(before) + 1, len(before) + 1 + len(number))
    masked = {at for card in find_cards(text) for at in range(card.start, card.end)}
    assert masked.issuperset(place)


@pytest.mark.parametrize("token", ["94825972-3985-4261-8212-32d371815440", "846507036005228238102140603b8785"])
def test_long_token_with_one_letter_is_no_card_number(token: str) -> None:
    assert find_cards(f"Quote quote_{token}, valid until 2024-01-05") == []
