"""Test that listings for people are also available as JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextvars import Context
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from machines_mcp.cli.main import main
from machines_mcp.testing import ready_user, set_passphrase
from tests.cli.test_root import ROOT, environment
from tests.support.waiting import PATIENCE

WISH = {"limit_amount_cents": 20_00, "limit_frequency": "per30DayPeriod"}
REAL = {"MACHINES_ENV": "sandbox", "MACHINES_PARTNER_KEY": "mk-0123456789", "MACHINES_USER_ID": "user-1"}


def run(folder: Path, *arguments: str, **settings: str) -> Result:
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder)} | settings
    return Context().run(CliRunner().invoke, main, list(arguments), env=env)


async def _waiting_approval(folder: Path) -> dict[str, Any]:
    async with ready_user(answer=None, state_dir=folder, balance_cents=0) as user:
        return await user.try_call("create_card", **WISH)


@pytest.mark.check
def test_waiting_approvals_are_listed_as_json(tmp_path: Path) -> None:
    assert json.loads(run(tmp_path, "approve", "--json").stdout) == []
    asked = Context().run(anyio.run, _waiting_approval, tmp_path)
    (row,) = json.loads(run(tmp_path, "approve", "--json").stdout)
    assert row["approval_id"] == asked["approval_id"]
    assert (row["tool"], row["class"], row["user_id"], row["only"]) == ("create_card", "money", "user-1", None)
    assert "limit of $20.00" in row["question"]
    assert all({"label", "value", "note"} <= fact.keys() for fact in row["facts"])
    open_for = datetime.fromisoformat(row["expires_at"]) - datetime.fromisoformat(row["asked_at"])
    assert open_for.total_seconds() == 15 * 60
    assert run(tmp_path, "approve", row["approval_id"]).exit_code == 0
    assert json.loads(run(tmp_path, "approve", "--json").stdout) == []


def test_passphrase_status_is_available_as_json(tmp_path: Path) -> None:
    result = run(tmp_path, "passphrase", "--status", "--json", **REAL)
    assert (result.exit_code, json.loads(result.stdout)) == (
        1,
        {"set": False, "set_at": None, "needed": True, "wait_seconds": 0, "alarms": []},
    )
    env = REAL | {"MACHINES_STATE_DIR": str(tmp_path)}
    Context().run(anyio.run, set_passphrase, env, "correct horse battery")
    result = run(tmp_path, "passphrase", "--status", "--json", **REAL)
    told = json.loads(result.stdout)
    assert (result.exit_code, told["set"], told["wait_seconds"]) == (0, True, 0)
    assert datetime.fromisoformat(told["set_at"]).tzinfo is not None


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
@pytest.mark.check
def test_the_desk_address_is_printed_as_json(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "machines_mcp", "desk", "--json"],
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    assert told["served_here"] is True
    assert told["address"].startswith("http://127.0.0.1:")
