from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from machines_mcp.redaction.foreign_text import MASK_KEY, ForeignText, shortened
from tests.redaction.test_writings import longest_part
from tests.support.card_numbers import card_number
from tests.support.writings import WRITINGS

# The number must be readable in the whole text, which ends with it.
CUT = [name for name in WRITINGS if not name.startswith(("between", "before", "twice", "in a UUID", "as an address"))]


class Output(BaseModel):
    text: ForeignText | None = None


@pytest.mark.parametrize("writing", CUT)
def test_no_cut_leaves_a_part_of_a_card_number(writing: str) -> None:
    number = card_number("41")
    written = WRITINGS[writing](number)
    for limit in range(1, len(written) + 30):
        assert longest_part(shortened(f"Café {written}", limit), number) <= 4
        assert longest_part(shortened(f"{written} and more", limit), number) <= 4


@pytest.mark.parametrize("limit", [20, 60, 120])
def test_text_that_ends_with_a_card_number_is_masked_at_every_place(limit: int) -> None:
    number = card_number()
    for length in range(limit + 20):
        for text in (f"{'x' * length} {number}", f"{'x' * length} {number} {'y' * limit}"):
            shown = shortened(text, limit)
            assert len(shown) <= limit
            assert longest_part(shown, number) <= 4


def test_output_is_looked_at_as_a_whole_and_then_cut() -> None:
    looked: list[tuple[str, bool]] = []

    def mask(text: str, cut: bool) -> str:
        looked.append((text, cut))
        return text.replace("secret-0123456789", "•••")

    text = f"{'x' * 50} secret-0123456789 {'y' * 50}"
    for limit in range(1, len(text) + 5):
        found = Output(text=ForeignText(text, limit)).model_dump(mode="json", context={MASK_KEY: mask})["text"]
        assert len(found) <= limit
        assert "secret" not in found
    assert looked == [(text, limit < len(text)) for limit in range(1, len(text) + 5)]


def test_output_without_a_look_is_masked() -> None:
    number = card_number()
    assert Output(text=ForeignText(f"to {number}", 100)).model_dump()["text"] == f"to •••• {number[-4:]}"
    assert json.loads(Output(text=ForeignText(f"to {number}", 8)).model_dump_json())["text"] == "to ••••…"


def test_plain_string_is_no_foreign_text() -> None:
    with pytest.raises(ValueError, match="instance of ForeignText"):
        Output.model_validate({"text": "x"})


def test_stored_outcome_is_read_back() -> None:
    stored = Output(text=ForeignText("x" * 50, 10)).model_dump_json()
    assert Output.model_validate_json(stored).model_dump_json() == stored


def test_empty_text_is_absent() -> None:
    assert [ForeignText.of(text, 10) for text in (None, "", " ", "\u200b\u202e")] == [None] * 4


def test_very_long_text_loses_its_end_before_the_look() -> None:
    number = card_number()
    for gap in range(20):
        # The mask shortens the text so much that its end could come into view.
        text = "4" * (100_010 - gap) + f" secret-{'k' * 200} {number}"
        assert "kkk" not in shortened(text, 20)
        assert longest_part(shortened(text, 20), number) <= 4


@given(st.text(max_size=300), st.integers(1, 300))
def test_text_is_never_longer_than_its_limit(text: str, limit: int) -> None:
    assert len(shortened(text, limit)) <= limit


@pytest.mark.parametrize("limit", [3, 60])
def test_shortened_text_is_a_plain_string(limit: int) -> None:
    assert type(shortened(ForeignText("Lost", 60), limit)) is str


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_keeps_its_limit(copied: Callable[[Any], Any]) -> None:
    made = copied(ForeignText("x" * 50, 10))
    assert (type(made), made, made.limit) == (ForeignText, "x" * 50, 10)
