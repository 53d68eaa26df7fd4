"""Test `machines-mcp state prune`: it deletes old reads and unused rows, and keeps every promise."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from contextvars import Context
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from machines_mcp.cli.main import main
from machines_mcp.cli.prune import Pruned, prune
from machines_mcp.permissions.usage import DAY_SECONDS
from machines_mcp.server.settings_reader import read_settings
from tests.support.tool_caller import ToolCaller, caller
from tests.support.waiting import eventually
from tests.tools.test_withdrawals import ADDRESS, funded

Run = Callable[..., Result]

TERMS = {"currency": "rusd", "network": "base", "address": ADDRESS}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path / "state"), "MACHINES_USER_ID": "tool-user"}


@pytest.fixture
def run(env: dict[str, str]) -> Run:

    def command(*arguments: str) -> Result:
        result: Result = Context().run(CliRunner().invoke, main, list(arguments), env=dict(env))
        return result

    return command


async def busy(c: ToolCaller) -> dict[str, Any]:
    """Make calls of every kind, and return what a repeated call must return."""
    await funded(c)
    card = await c.call("create_card", label="Food")
    for amount in (2_000, 2_100):
        quote = await c.call("quote_withdrawal", amount_cents=amount, **TERMS)
    withdrawal = await c.call("create_withdrawal", quote_id=quote["quote_id"])
    for _ in range(5):
        await c.call("get_balances")
        await c.call("list_cards", cursor="nonsense")
    return {"card": card, "quote": quote["quote_id"], "withdrawal": withdrawal}


def rows(env: dict[str, str], query: str, *values: str) -> list[tuple[str, ...]]:
    path = Path(env["MACHINES_STATE_DIR"]) / "embedded" / "state.db"
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query, values).fetchall()


def reads(env: dict[str, str]) -> list[tuple[str, ...]]:
    return rows(env, "SELECT tool FROM audit WHERE kind = 'call' AND action_class = 'read'")


def later(env: dict[str, str], days: float) -> Pruned:
    """Prune as if so many days had passed."""

    async def pruned() -> Pruned:
        return await prune(read_settings(env), None, clock=lambda: time.time() + days * DAY_SECONDS)

    return anyio.run(pruned)


def test_results_signatures_and_the_audit_survive_a_prune(run: Run, env: dict[str, str], tmp_path: Path) -> None:
    async def work() -> None:
        folder = Path(env["MACHINES_STATE_DIR"])
        async with caller(folder) as c:
            made = await busy(c)
            async with caller(folder, answer="decline", sandbox=c.sandbox) as refusing:
                assert (await refusing.call("create_card", label="No"))["code"] == "approval.refused"
            # Rows of reads are written in batches.
            await eventually(lambda: len(reads(env)) >= 10)
            pruned = await prune(read_settings(env), None, clock=lambda: time.time() + 91 * DAY_SECONDS)
            assert pruned.ok
            assert pruned.deleted["audit rows of reads"] >= 10
            assert pruned.deleted["unused quotes"] == 1
            assert pruned.deleted["approvals of calls that never ran"] == 1
            assert pruned.kept["withdrawals"] == 1
            assert "1 withdrawals" in pruned.message
            assert [line.split(maxsplit=1)[0] for line in pruned.message.splitlines()] == [
                "Deleted,",
                "Kept:",
                "Intact:",
            ]
            done = {tool: found for tool, found in rows(env, "SELECT tool, id FROM approvals WHERE state = 'done'")}
            card = await c.call("create_card", label="Food", approval_id=done["create_card"])
            assert card["card_id"] == made["card"]["card_id"]
            again = await c.call("create_withdrawal", quote_id=made["quote"], approval_id=done["create_withdrawal"])
            assert again["withdrawal_id"] == made["withdrawal"]["withdrawal_id"]
            assert len((await c.call("list_cards"))["cards"]) == 1

    anyio.run(work)
    verified = run("audit", "verify")
    assert (verified.exit_code, "pruned" in verified.output) == (0, True)
    assert "pruned" in run("audit", "show", "--kind", "setting").output


def test_nothing_younger_than_the_retention_is_deleted(run: Run, env: dict[str, str], tmp_path: Path) -> None:
    async def work() -> None:
        async with caller(Path(env["MACHINES_STATE_DIR"])) as c:
            await busy(c)

    anyio.run(work)
    assert set(later(env, 89).deleted.values()) == {0}
    shown = json.loads(run("state", "prune", "--json").output)
    assert set(shown["deleted"].values()) == {0}
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\nenvironment = "embedded"\n[retention]\ndays = 30\n', encoding="ascii")
    policy.chmod(0o600)
    env["MACHINES_POLICY"] = str(policy)
    assert later(env, 31).deleted["audit rows of reads"] >= 10
    assert run("state", "prune", "--days", "0").exit_code == 2


def test_a_tampered_audit_log_is_not_pruned(run: Run, env: dict[str, str]) -> None:
    async def work() -> None:
        async with caller(Path(env["MACHINES_STATE_DIR"])) as c:
            await busy(c)

    anyio.run(work)
    with closing(sqlite3.connect(Path(env["MACHINES_STATE_DIR"]) / "embedded" / "state.db")) as db, db:
        db.execute("DELETE FROM audit WHERE seq = 3")
    refused = run("state", "prune")
    assert (refused.exit_code, refused.output.startswith("Nothing was deleted. Tampered with")) == (1, True)
