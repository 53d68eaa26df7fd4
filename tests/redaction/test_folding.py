from __future__ import annotations

import hashlib
import re
import unicodedata

import pytest

from machines_mcp.redaction.folding import FOREIGN, FoldedText, folded, readings, squeezed

# Equal on every Python, whatever Unicode it knows.
DIGEST = "85cc1c40096de7f311ba4ac56badf09f3f3caa7ac4b8f7e5b2d80058f9a308a1"


def test_every_character_is_folded_alike_on_every_python() -> None:
    parts = [FoldedText(chr(point)).plain for point in range(0x110000)]
    assert hashlib.sha256("\0".join(parts).encode()).hexdigest() == DIGEST
    assert set("".join(parts)) <= {*map(chr, range(128)), FOREIGN}


def test_every_digit_that_this_python_knows_is_folded_to_its_value() -> None:
    known = {point: unicodedata.digit(chr(point), None) for point in range(0x110000)}
    wrong = [
        hex(point) for point, value in known.items() if value is not None and FoldedText(chr(point)).plain != str(value)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("\uff23\uff36\uff23 \uff11\uff12\uff13", "CVC 123"),
        ("\U0001d41c\U0001d42f\U0001d41c", "cvc"),
        ("ćvč", "cvc"),
        ("🄲🅅🄲", "CVC"),
        ("①②⑩㊷", "121042"),
        ("4\ufe0f\u20e31\ufe0f\u20e3", "41"),
        ("4\u200b1\u03361", "411"),
        ("一〇四", "104"),
        ("年", FOREIGN),
        ("4\u20131\u22121\u20111", "4-1-1-1"),
        ("4\u00a01\u30001", "4 1 1"),
        ("4•1💳1", "4,1,1"),
    ],
)
def test_text_is_folded(text: str, plain: str) -> None:
    assert FoldedText(text).plain == plain


def test_every_symbol_is_one_separator_beside_its_letters() -> None:
    characters = [chr(point) for point in range(0x80, 0x110000)]
    symbols = [c for c in characters if not c.isalnum() and not FoldedText(c).plain.isdigit()]
    wrong = [hex(ord(c)) for c in symbols if not re.fullmatch("[^0-9A-Za-zª]?", FoldedText(c, marks=True).plain)]
    assert wrong == []
    for letter in "ABCabcéßÆᵃᴀ①ⅣЖ年한ア" + FOREIGN:
        assert FoldedText(letter, marks=True).plain == FoldedText(letter).plain


@pytest.mark.parametrize("text", ["Ⓒ 4111", "4111™1111", "4111ー1111", "4111\u31641111"])
def test_text_with_a_symbol_of_letters_has_two_readings(text: str) -> None:
    first, second = readings(FoldedText(text))
    assert first.plain == FoldedText(text).plain
    assert re.fullmatch("[0-9, ]+", second.plain)


@pytest.mark.parametrize("text", ["4111 1111", "Café • 4111", "年4111"])
def test_other_text_has_one_reading(text: str) -> None:
    assert [reading.plain for reading in readings(FoldedText(text))] == [FoldedText(text).plain]


def test_part_of_the_folding_leads_back_to_the_original() -> None:
    text = FoldedText("a ④\u20e3⑩ z")
    assert text.plain == "a 410 z"
    assert [text.original[slice(*text.span(at, at + 1))] for at in range(7)] == [
        "a",
        " ",
        "④\u20e3",
        "⑩",
        "⑩",
        " ",
        "z",
    ]
    assert text.original[slice(*text.span(2, 5))] == "④\u20e3⑩"


def test_ascii_text_is_its_own_folding() -> None:
    text = FoldedText("card 4111")
    assert (text.plain, text.span(5, 9)) == ("card 4111", (5, 9))


def test_letters_without_an_equivalent_are_no_part_of_a_squeezed_text() -> None:
    assert squeezed("Secret年-①É") == b"secret1e"
    assert folded("a年b") == "a b"
