from __future__ import annotations

import uuid

import pytest

from machines_mcp.sandbox import ids


def test_an_id_that_could_be_a_card_number_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    like_numbers = ["bb02bbee-2bba-4817-8077-45917ca0ebf0", "07373247-0d02-4928-8533-8209687139e2"]
    made = iter(map(uuid.UUID, [*like_numbers, "0d02b8c4-2bba-4a17-8f77-45917ca0ebf0"]))
    monkeypatch.setattr(uuid, "uuid4", lambda: next(made))
    assert ids.new_id() == "0d02b8c4-2bba-4a17-8f77-45917ca0ebf0"
