"""The command withdrawal: what a person reads, and what it says without an extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from machines_mcp.chain import extras
from machines_mcp.cli.commands.withdrawal import withdrawal
from machines_mcp.cli.withdrawal import format_transaction, withdrawal_transaction
from machines_mcp.server.settings_reader import read_settings

DONE: dict[str, Any] = {
    "stage": "done",
    "chain_id": 84532,
    "from": "0x" + "aa" * 20,
    "expires_at": "2026-11-30T16:26:16Z",
    "seconds_left": 1732,
    "verified": [],
    "not_verified": [],
    "transaction_hash": "0x" + "cd" * 32,
    "block": 1,
}


def test_the_time_that_is_left_is_shown_while_it_counts() -> None:
    assert "(28 min 52 s left)" in format_transaction(DONE | {"stage": "send", "transaction": {}})
    assert "Expires" not in format_transaction(DONE)


def test_without_an_extra_it_says_how_to_install_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("plans_evm", "plans_solana"):
        monkeypatch.setattr(extras, name, lambda: False)
    done = CliRunner().invoke(withdrawal, ["wd_" + "0" * 32])
    assert done.exit_code == 2
    assert "run make chain" in " ".join(done.stderr.split())


@pytest.mark.anyio
async def test_an_unknown_withdrawal_is_not_taken_for_an_unknown_user(tmp_path: Path) -> None:
    settings = read_settings({"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path / "state")})
    body, ok = await withdrawal_transaction(settings, "wd_" + "0" * 32, None, None)
    assert (ok, body["code"]) == (False, "not_found")
    assert "no withdrawal with this id" in body["message"]
