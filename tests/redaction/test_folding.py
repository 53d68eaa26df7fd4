from __future__ import annotations

import hashlib
import unicodedata

import pytest

from machines_mcp.redaction.folding import FOREIGN, FoldedText, folded, squeezed

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
