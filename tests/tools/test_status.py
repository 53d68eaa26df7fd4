"""`status` shows unresolved calls and what to do about them."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from machines_mcp.partner.errors import TimedOut
from machines_mcp.partner.resources.cards import Cards
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard
from tests.support.tool_caller import ToolCaller, caller
from tests.support.waiting import PATIENCE, eventually_async
from tests.support.wrong_tries import type_wrong
from tests.tools.test_cards import _grant

pytestmark = pytest.mark.anyio


async def _approved_card(c: ToolCaller, folder: Path) -> str:
    """Return the approval of a card that is not created yet."""
    for tool, arguments in (("submit_kyc", _applicant()), ("accept_agreements", {})):
        asked = await c.call(tool, **arguments)
        await _grant(folder, asked["approval_id"])
        await c.call(tool, **arguments, approval_id=asked["approval_id"])
    approval = str((await c.call("create_card"))["approval_id"])
    await _grant(folder, approval)
    return approval


def _applicant() -> dict[str, Any]:
    from tests.support.stdio_client import applicant

    return applicant()


def _failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    async def create(self: Cards, *args: Any, **options: Any) -> Any:
        raise error

    monkeypatch.setattr(Cards, "create", create)


async def test_many_wrong_passphrases_raise_an_alarm(tmp_path: Path) -> None:
    async with caller(tmp_path, answer=None) as c:
        assert (await c.call("status"))["alarms"] == []
        async with open_guard(read_settings({"MACHINES_STATE_DIR": str(tmp_path)})) as guard:
            await type_wrong(guard, "page", 5)

        async def alarms() -> list[str]:
            return list((await c.call("status"))["alarms"])

        # What another process writes shows within a quarter of a second.
        (alarm,) = await eventually_async(alarms)
        assert alarm.startswith("5 wrong passphrases were typed on a card's page since ")


async def test_status_and_the_error_write_the_same_expiry(tmp_path: Path) -> None:
    async with caller(tmp_path, answer=None) as c:
        asked = await c.call("submit_kyc", **_applicant())
        (waiting,) = (await c.call("status"))["waiting"]
    assert (waiting["approval_id"], waiting["expires_at"]) == (asked["approval_id"], asked["expires_at"])
    assert asked["expires_at"].endswith("Z")


async def test_call_with_an_internal_error_is_unresolved_immediately(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with caller(tmp_path, answer=None) as c:
        approval = await _approved_card(c, tmp_path)
        assert (await c.call("status"))["unresolved"] == []
        _failing(monkeypatch, RuntimeError())
        error = await c.call("create_card", approval_id=approval)
        steps = [step["tool"] for step in error["next_steps"]]
        assert (error["code"], steps) == ("outcome.unknown", ["create_card", "status"])
        status = await c.call("status")
        (found,) = status["unresolved"]
        assert (found["approval_id"], found["tool"], found["status"]) == (approval, "create_card", "unknown")
        assert "approval_id" in found["what_to_do"]
        assert "list_cards" in found["what_to_do"]
        assert time.time() - 60 < _seconds(found["since"]) <= time.time()
        step = status["next_steps"][0]
        assert (step["tool"], step["arguments"]) == ("list_cards", {})
        assert await c.call(step["tool"], **step["arguments"])


async def test_running_call_is_shown_until_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go, real = anyio.Event(), anyio.Event(), Cards.create

    async def create(self: Cards, *args: Any, **options: Any) -> Any:
        begun.set()
        await go.wait()
        return await real(self, *args, **options)

    async with caller(tmp_path, answer=None) as c:
        approval = await _approved_card(c, tmp_path)
        monkeypatch.setattr(Cards, "create", create)
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: c.call("create_card", approval_id=approval))
                await begun.wait()
                status = await c.call("status")
                go.set()
        (found,) = status["unresolved"]
        assert (found["approval_id"], found["status"]) == (approval, "running")
        assert status["next_steps"][0]["tool"] == "create_session"
        assert (await c.call("status"))["unresolved"] == []


@pytest.mark.parametrize(
    ("owner", "age", "status"),
    [(None, 30, "running"), (None, 120, "needs_person"), ("0" * 32, 30, "unknown"), ("", 1, "unknown")],
)
async def test_interrupted_call_of_a_dead_process_is_reported(
    tmp_path: Path, owner: str | None, age: float, status: str
) -> None:
    """By its owner, or by its age for rows without an owner."""
    async with caller(tmp_path, user_id=None, answer=None) as c:
        approval = str((await c.call("submit_kyc", user_id="user-7", **_applicant()))["approval_id"])
    with sqlite3.connect(tmp_path / "embedded" / "state.db") as db:
        db.execute("UPDATE approvals SET state = 'executing', started_at = ?, owner = ?", (time.time() - age, owner))
    db.close()
    async with caller(tmp_path, user_id=None, answer=None) as c:
        answer = await c.call("status")
        (found,) = answer["unresolved"]
        assert (found["approval_id"], found["tool"], found["status"]) == (approval, "submit_kyc", status)
        steps = [(step["tool"], step["arguments"]) for step in answer["next_steps"]]
        looks = [("get_kyc_status", {"user_id": "user-7"})] if status != "running" else []
        assert steps[:-4] == looks


async def test_unknown_outcome_is_unresolved_until_reconciled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with caller(tmp_path, answer=None) as c:
        approval = await _approved_card(c, tmp_path)
        with monkeypatch.context() as patch:
            _failing(patch, TimedOut(outcome_known=False))
            error = await c.call("create_card", approval_id=approval)
        steps = [step["tool"] for step in error["next_steps"]]
        assert (error["code"], steps) == ("outcome.unknown", ["create_card", "list_cards"])
        (found,) = (await c.call("status"))["unresolved"]
        assert (found["approval_id"], found["status"]) == (approval, "unknown")
        assert (await c.call("create_card", approval_id=approval))["last4"]
        assert (await c.call("status"))["unresolved"] == []


async def test_withdrawal_is_listed_with_its_call_or_alone_after_it_ended(tmp_path: Path) -> None:
    async with caller(tmp_path, user_id=None, answer=None) as c:
        approval = str((await c.call("submit_kyc", user_id="user-7", **_applicant()))["approval_id"])
    with sqlite3.connect(tmp_path / "embedded" / "state.db") as db:
        db.execute("UPDATE approvals SET state = 'executing', started_at = ?, owner = ''", (time.time(),))
        db.execute("INSERT INTO quotes (id, user_id, terms, created_at, expires_at) VALUES ('q', 'u', '{}', 0, 0)")
        for name, row_approval, status in (
            ("wd_1", approval, "unknown"),
            ("wd_2", "ended", "unknown"),
            ("wd_3", None, "ready"),
        ):
            row = (name, status, 1_800_000_000.0, 0.0, row_approval)
            db.execute("INSERT INTO withdrawals VALUES (?, 'u', 'q', ?, NULL, ?, ?, ?)", row)
    db.close()
    async with caller(tmp_path, user_id=None, answer=None) as c:
        first, second = (await c.call("status"))["unresolved"]
    assert (first["approval_id"], first["withdrawal_id"], first["status"]) == (approval, "wd_1", "needs_person")
    assert (second["withdrawal_id"], second["status"], "approval_id" in second) == ("wd_2", "unknown", False)
    assert second["since"].startswith("2027-01-15")
    assert "doctor --resolve" in first["what_to_do"] and "doctor --resolve" in second["what_to_do"]


def _seconds(moment: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(moment).timestamp()
