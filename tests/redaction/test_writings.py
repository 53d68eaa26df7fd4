from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.redaction.detectors import masked_text
from machines_mcp.redaction.folding import FoldedText
from tests.support.card_numbers import card_number
from tests.support.writings import WRITINGS

SYMBOLS = [
    c for c in map(chr, range(0x110000)) if not c.isalnum() and c.isprintable() and not FoldedText(c).plain.isdigit()
]
NUMBERS = {"Visa": ("41", 16), "Mastercard": ("53", 16), "American Express": ("37", 15), "UnionPay": ("62", 19)}


def longest_part(text: str, number: str) -> int:
    """Return how many consecutive digits of the number can still be read in the text, between masks."""
    digits = " ".join(re.sub("[^0-9]", "", FoldedText(part).plain) for part in text.split("•"))
    sizes = range(len(number), 0, -1)
    return next((n for n in sizes if any(number[at : at + n] in digits for at in range(len(number) - n + 1))), 0)


def test_there_are_at_least_eighty_writings() -> None:
    number = card_number()
    assert len({write(number) for write in WRITINGS.values()}) >= 80


@pytest.mark.parametrize("around", ["{}", "paid with {} at noon", "№ {}, valid"])
@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("writing", WRITINGS)
def test_card_number_is_masked_in_each_writing(writing: str, kind: str, around: str) -> None:
    for _ in range(5):
        number = card_number(*NUMBERS[kind])
        shown = masked_text(around.format(WRITINGS[writing](number)))
        assert longest_part(shown, number) <= 6, shown


@pytest.mark.parametrize("kind", NUMBERS)
@given(data=st.data())
def test_card_number_in_a_short_hash_is_masked(kind: str, data: st.DataObject) -> None:
    number = card_number(*NUMBERS[kind])
    spare = 31 - len(number)
    head = data.draw(st.text("0123456789abcdef", max_size=spare))
    tail = data.draw(st.text("0123456789abcdef", max_size=spare - len(head)))
    assert longest_part(masked_text(f"{head}{number}{tail}"), number) <= 6


@given(st.integers(1, 3).flatmap(lambda size: st.text(st.sampled_from(SYMBOLS), min_size=size, max_size=size)))
def test_card_number_with_any_symbols_between_its_groups_is_masked(between: str) -> None:
    number = card_number("41")
    shown = masked_text(between.join(number[at : at + 4] for at in range(0, 16, 4)))
    assert longest_part(shown, number) <= 6, shown
