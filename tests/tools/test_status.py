"""What was begun and has no outcome is shown, with what to do about it."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from machines_mcp.partner.errors import TimedOut
from machines_mcp.partner.resources.cards import Cards
from tests.tools.simulated import Caller, caller
from tests.tools.test_cards import _grant

pytestmark = pytest.mark.anyio


async def _approved_card(c: Caller, folder: Path) -> str:
    """The approval of a card that is not made yet."""
    for tool, arguments in (("submit_kyc", _applicant()), ("accept_agreements", {})):
        asked = await c.call(tool, **arguments)
        await _grant(folder, asked["approval_id"])
        await c.call(tool, **arguments, approval_id=asked["approval_id"])
    approval = str((await c.call("create_card"))["approval_id"])
    await _grant(folder, approval)
    return approval


def _applicant() -> dict[str, Any]:
    from tests.journeys.stdio import applicant

    return applicant()


def _failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    async def create(self: Cards, *args: Any, **options: Any) -> Any:
        raise error

    monkeypatch.setattr(Cards, "create", create)


async def test_a_call_that_ended_unforeseen_is_unresolved_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with caller(tmp_path, answer=None) as c:
        approval = await _approved_card(c, tmp_path)
        assert (await c.call("status"))["unresolved"] == []
        _failing(monkeypatch, RuntimeError())
        error = await c.call("create_card", approval_id=approval)
        assert (error["code"], error["next_steps"][0]["tool"]) == ("outcome.unknown", "status")
        status = await c.call("status")
        (found,) = status["unresolved"]
        assert (found["approval_id"], found["tool"], found["status"]) == (approval, "create_card", "unknown")
        assert "list_cards" in found["what_to_do"]
        assert time.time() - 60 < _seconds(found["since"]) <= time.time()
        step = status["next_steps"][0]
        assert (step["tool"], step["arguments"]) == ("list_cards", {})
        assert await c.call(step["tool"], **step["arguments"])


async def test_a_call_under_way_is_shown_as_that_and_gone_when_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go, real = anyio.Event(), anyio.Event(), Cards.create

    async def create(self: Cards, *args: Any, **options: Any) -> Any:
        begun.set()
        await go.wait()
        return await real(self, *args, **options)

    async with caller(tmp_path, answer=None) as c:
        approval = await _approved_card(c, tmp_path)
        monkeypatch.setattr(Cards, "create", create)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: c.call("create_card", approval_id=approval))
                await begun.wait()
                status = await c.call("status")
                go.set()
        (found,) = status["unresolved"]
        assert (found["approval_id"], found["status"]) == (approval, "running")
        assert status["next_steps"][0]["tool"] == "create_session"
        assert (await c.call("status"))["unresolved"] == []


@pytest.mark.parametrize(("age", "status"), [(30, "running"), (120, "unknown")])
async def test_what_a_process_that_is_gone_had_begun_is_told_by_its_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: float, status: str
) -> None:
    async with caller(tmp_path, user_id=None, answer=None) as c:
        approval = str((await c.call("submit_kyc", user_id="user-7", **_applicant()))["approval_id"])
    with sqlite3.connect(tmp_path / "embedded" / "state.db") as db:
        db.execute("UPDATE intents SET state = 'executing', began_at = ?", (time.time() - age,))
    db.close()
    async with caller(tmp_path, user_id=None, answer=None) as c:
        answer = await c.call("status")
        (found,) = answer["unresolved"]
        assert (found["approval_id"], found["tool"], found["status"]) == (approval, "submit_kyc", status)
        steps = [(step["tool"], step["arguments"]) for step in answer["next_steps"]]
        looks = [("get_kyc_status", {"user_id": "user-7"})] if status == "unknown" else []
        assert steps[:-1] == looks


async def test_what_the_partner_left_open_is_the_kept_outcome_and_no_row_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with caller(tmp_path, answer=None) as c:
        approval = await _approved_card(c, tmp_path)
        _failing(monkeypatch, TimedOut(outcome_known=False))
        error = await c.call("create_card", approval_id=approval)
        assert (error["code"], error["next_steps"][0]["tool"]) == ("outcome.unknown", "list_cards")
        assert (await c.call("status"))["unresolved"] == []


def _seconds(moment: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(moment).timestamp()
