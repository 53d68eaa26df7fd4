from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from machines_mcp.server.reveal_page import record_reveal
from machines_mcp.vault.reply import Code, failed


@pytest.mark.parametrize(
    ("code", "alarms"),
    [("secrets.mismatch", ["response.mismatch:vault"]), ("secrets.malformed", []), ("partner.unavailable", [])],
)
def test_secrets_of_another_card_or_session_raise_an_alarm(code: Code, alarms: list[str]) -> None:
    raised: list[str] = []
    noted: list[Any] = []
    guard: Any = SimpleNamespace(audit=SimpleNamespace(note=noted.append, alarm=raised.append))
    record_reveal(guard, failed(code), "none", "user-1", "card-0001")
    assert raised == alarms
    assert [row.code for row in noted] == [code]
