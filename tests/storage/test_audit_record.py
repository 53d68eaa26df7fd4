"""Audit rows contain no free text: values that a model can choose are ids or fingerprints."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.storage.audit_record import AuditEntry, fingerprinted
from tests.support.card_numbers import card_number

KEY = bytes(range(32))
PLACES = ("tool", "action_class", "user_id", "approval_id", "verdict", "code", "by", "sink", "card_id")


def entry(place: str, value: str) -> AuditEntry:
    values: dict[str, Any] = {place: value}
    return AuditEntry("call", **values)


@pytest.mark.parametrize(
    "value", ["user-1", "grace@example.com", "a", "card_01HXYZ", "policy.denied", str(uuid.UUID(int=7)), "0" * 12, None]
)
def test_id_is_kept(value: str | None) -> None:
    assert fingerprinted(KEY, value) == value


def test_empty_value_is_omitted() -> None:
    assert AuditEntry("call", user_id="", card_id="").values(KEY) == AuditEntry("call").values(KEY)


@pytest.mark.parametrize(
    "value", [" ", "two words", "user\n1", "\x1b[31m", "Ünal", "\ud800", "x" * 129, "{}", "<b>", "~0123", "-x"]
)
@pytest.mark.parametrize("place", PLACES)
def test_other_text_becomes_a_fingerprint(place: str, value: str) -> None:
    stored = [text for text in entry(place, value).values(KEY)[1:] if text is not None]
    assert len(stored) == 1
    assert str(stored[0]).startswith("~")
    assert len(str(stored[0])) == 17


@pytest.mark.parametrize("size", range(13, 20))
@pytest.mark.parametrize("shape", ["{}", "card-{}", "{}x", "9{}", "x{}1"])
@pytest.mark.parametrize("mark", ["", "-", "."])
def test_card_number_never_appears_in_a_row(size: int, shape: str, mark: str) -> None:
    number = card_number(length=size)
    written = shape.format(mark.join(number[start : start + 4] for start in range(0, size, 4)))
    for place in ("user_id", "card_id"):
        assert written not in entry(place, written).values(KEY)


@given(st.text(min_size=1), st.text(min_size=1))
def test_fingerprints_are_equal_only_for_equal_values(first: str, second: str) -> None:
    assert (fingerprinted(KEY, first) == fingerprinted(KEY, second)) == (first == second)
    assert fingerprinted(KEY, f"{first} ") != fingerprinted(bytes(32), f"{first} ")
