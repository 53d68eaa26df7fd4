"""Test `machines-mcp state rebase-clock`, and the doctor's finding about the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import Context
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner, Result

from machines_mcp.cli.clock import NOT_BEHIND
from machines_mcp.cli.doctor.state import check_safeguards
from machines_mcp.cli.main import main
from machines_mcp.permissions.factory import build_guard
from machines_mcp.permissions.policy import default_policy
from machines_mcp.redaction.display import moment
from machines_mcp.server.app import opened
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.storage.audit_log import AuditEntry
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER

HOUR = 3600.0

Run = Callable[..., Result]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path / "state")}


@pytest.fixture
def run(env: dict[str, str]) -> Run:

    def command(*arguments: str) -> Result:
        words = ["state", "rebase-clock", *arguments]
        result: Result = Context().run(CliRunner().invoke, main, words, env=dict(env))
        return result

    return command


def write_ahead(env: dict[str, str]) -> float:
    """Write a row with a clock that is ten hours ahead, and return its time."""
    at = time.time() + 10 * HOUR

    async def write() -> None:
        store = Store(read_settings(env).state_dir)
        guard = build_guard(store, default_policy("embedded", read_only=False), ANY_USER, clock=lambda: at)
        await guard.audit.append(AuditEntry("call", tool="get_card"))
        await store.close()

    anyio.run(write)
    return at


def finding(env: dict[str, str]) -> tuple[bool, str]:
    async def look() -> tuple[bool, str]:
        async with opened(read_settings(env)) as app:
            await app.store.read(lambda db: None)
            (found,) = [found for found in await check_safeguards(app) if found.check == "clock"]
            return found.ok, found.message

    return anyio.run(look)


def test_the_operator_confirms_a_clock_that_was_ahead(run: Run, env: dict[str, str]) -> None:
    assert (run().exit_code, run().output.strip()) == (0, NOT_BEHIND)
    assert finding(env) == (True, "ok")
    until = moment(write_ahead(env) - 300)
    ok, message = finding(env)
    assert not ok
    assert f"Until {until} UTC" in message and "machines-mcp state rebase-clock" in message
    shown = run()
    assert (shown.exit_code, f"Until {until} UTC" in shown.output, "--yes" in shown.output) == (1, True, True)
    assert not finding(env)[0]
    confirmed = run("--yes")
    assert (confirmed.exit_code, "is confirmed" in confirmed.output) == (0, True)
    assert finding(env)[0]
    assert run("--yes").output.strip() == NOT_BEHIND
