"""Text from outside is cleaned of what could act."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.tools.text import clean, clean_or_none, dollars


@pytest.mark.parametrize(
    ("dirty", "shown"),
    [
        ("Café Zürich 東京", "Café Zürich 東京"),
        ("a\x1b[31mred\x1b[0m", "ared"),
        ("a\x1b]0;title\x07b", "ab"),
        ("pay\u202etxt.exe", "paytxt.exe"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("two\nlines\tand\r\nmore", "two lines and more"),
        ("\x00\x07bell", "bell"),
        ("   ", ""),
    ],
)
def test_what_could_act_is_gone_and_what_is_read_stays(dirty: str, shown: str) -> None:
    assert clean(dirty) == shown


def test_long_text_is_cut_and_shows_it() -> None:
    assert clean("x" * 300, 10) == "x" * 9 + "…"


@given(st.text())
def test_nothing_unprintable_is_ever_left(text: str) -> None:
    shown = clean(text, 50)
    assert len(shown) <= 50
    assert shown.isprintable()


def test_nothing_to_show_is_none() -> None:
    assert [clean_or_none(text) for text in (None, "", "\n", "x")] == [None, None, None, "x"]


def test_cents_read_as_dollars() -> None:
    assert [dollars(cents) for cents in (1, 123450, 0)] == ["$0.01", "$1,234.50", "$0.00"]
