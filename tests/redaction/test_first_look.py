"""A text with nothing to mask is known at first look: whatever passes it, no rule matches."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machines_mcp.redaction.detectors import masked_by_rules, masked_text
from machines_mcp.redaction.first_look import has_nothing_to_mask
from tests.support.card_numbers import card_number
from tests.support.writings import WRITINGS

CODES = ("cvc", "CVV2", "csc", "card security code", "Card-Verification-Value", "security code")
NAMES = (*CODES, "ssn", "ITIN", "tax id")
PARTS = st.one_of(
    st.sampled_from([*NAMES, "cv", "c ", ":", " ", "-", ".", "T", "\\", "\\u0034", "\\x34", "%34", "&#52;", "&amp;"]),
    st.sampled_from(["\uff11", "\u0661", "\u2122", "\u017f", "\u212a", "\n", "\t"]),
    st.integers(0, 10**9).map(str),
    st.text("0123456789", min_size=1, max_size=5),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8),
)


@given(st.lists(PARTS, max_size=12).map("".join))
@settings(max_examples=3000)
def test_no_rule_matches_a_text_that_passes_the_first_look(text: str) -> None:
    assert masked_text(text) == masked_by_rules(text)
    if has_nothing_to_mask(text):
        assert masked_by_rules(text) == text


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("between", ["", " ", ": ", " is "])
@pytest.mark.parametrize("number", ["123", "1234", "12-34 123"])
def test_named_code_does_not_pass(name: str, between: str, number: str) -> None:
    assert not has_nothing_to_mask(f"The {name}{between}{number}")


@pytest.mark.parametrize("text", ["123456789", "123-45-6789", "123 45 6789", "1" * 9, "4\uff15", "a\nb", "x" * 201])
def test_text_that_a_rule_may_match_does_not_pass(text: str) -> None:
    assert not has_nothing_to_mask(text)


@pytest.mark.parametrize("writing", WRITINGS)
def test_no_card_number_passes(writing: str) -> None:
    assert not has_nothing_to_mask(WRITINGS[writing](card_number()))


@pytest.mark.parametrize("text", ["", "Coffee", "Rent 2026", "posted", "per30DayPeriod", "$1,234.56", "No. 7 (12B)"])
def test_usual_text_passes(text: str) -> None:
    assert has_nothing_to_mask(text)
