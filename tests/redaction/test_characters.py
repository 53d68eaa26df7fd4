"""One set of rules for text: what is shown is what is sent, on every version of Python."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.redaction.characters import printable, shown, text_fault

FAMILY = "\U0001f469\U0001f3fd\u200d\u2764\ufe0f\u200d\U0001f468\u200d\U0001f467"
PERSIAN = "می\u200cخواهم"  # noqa: RUF001 - meant
BIDI = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
# Assigned in Unicode 15, 16 and 17, which Python 3.11 does not know, and a code point that no version assigns.
NEW = [0x1FAE8, 0x1FAE9, 0x1CC00, 0x20C1, 0x105C0, 0x3134B, 0x0378]

active = st.sampled_from(
    [*map(chr, BIDI), *"\u200c\u200d\ufe0f\u200b\ue000\ud800\ufffe\x1b\x00\n\t  a“", *map(chr, NEW)]
)


@pytest.mark.parametrize("text", [FAMILY, PERSIAN, "5\u202f000\xa0€", "山田\u3000太郎", "葛\U000e0100", *map(chr, NEW)])
def test_visible_text_is_shown_as_it_is(text: str) -> None:
    assert text_fault(text) is None
    assert shown(text) == printable(text) == text


@pytest.mark.parametrize("code", BIDI)
def test_bidi_controls_are_refused_and_never_shown(code: int) -> None:
    assert text_fault(f"a{chr(code)}b") == "must not contain characters that change the direction of writing"
    assert (shown(f"a{chr(code)}b"), printable(f"a{chr(code)}b")) == ("ab", "a\ufffdb")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Ada\n", "must not contain line breaks or control characters"),
        ("a\x85b", "must not contain line breaks or control characters"),
        ("a\u2028b", "must not contain line breaks or control characters"),
        ("a\u200bb", "must not contain invisible characters"),
        ("\u3164", "must not contain invisible characters"),
        ("hi\U000e0041\U000e0042", "must not contain invisible characters"),
        ("\ue000", "must not contain private characters or halves of characters"),
        ("\ud83d", "must not contain private characters or halves of characters"),
        ("\U0001fffe", "must not contain private characters or halves of characters"),
        ("\u200d", "must not contain joiners that join nothing"),
        ("a" + "\ufe0f" * 3, "must not contain joiners that join nothing"),
        (" a", "must not begin or end with a space"),
        ("a\xa0", "must not begin or end with a space"),
        ("a   b", "must not contain three spaces in a row"),
    ],
)
def test_text_that_would_be_shown_differently_is_refused(text: str, rule: str) -> None:
    assert text_fault(text) == rule
    assert shown(text) != text


@given(st.text() | st.text(active))
def test_what_is_shown_follows_the_rules(text: str) -> None:
    once = shown(text)
    assert once == "" or text_fault(once) is None
    assert shown(once) == once
    assert (once == text) == (text_fault(text) is None or text == "")


@given(st.text() | st.text(active))
def test_terminal_text_has_no_control_character(text: str) -> None:
    kept = printable(text)
    assert len(kept) == len(text)
    assert printable(kept) == kept
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in kept)
