from __future__ import annotations

import re

import pytest

from machines_mcp.redaction.detectors import masked_text
from machines_mcp.redaction.folding import FoldedText
from tests.support.card_numbers import card_number
from tests.support.writings import WRITINGS

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
