"""A pending withdrawal is not polled before the time that Machines gave, whichever process is asked."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.partner import Withdrawal
from machines_mcp.protocol import reconciliation
from machines_mcp.server.app import opened
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.tools import withdrawal_signature
from machines_mcp.tools.withdrawal_signature import PAUSE_SECONDS, time_until_poll
from tests.support.interrupted import state
from tests.support.tool_caller import ToolCaller, caller
from tests.tools.test_reconcile_withdrawals import ScriptedResponses, quoted, upstream
from tests.tools.test_withdrawals import funded

pytestmark = pytest.mark.anyio

DAY = 86_400
INTERVALS = [45, 600.5, DAY]
# Each with the interval that holds instead.
SHORT: dict[Any, float] = {0: PAUSE_SECONDS, 1e-15: 0.5, 0.25: 0.5, 2: 2, None: PAUSE_SECONDS}
ODD: list[Any] = [DAY + 1, -5, "600", [600], 1e300, True]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> ScriptedResponses:
    """Count the requests. Neither the first call nor a repeat waits for the next poll."""
    monkeypatch.setattr(withdrawal_signature, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(reconciliation, "CALL_SECONDS", 0.0)
    return ScriptedResponses(monkeypatch)


@asynccontextmanager
async def pending(folder: Path, retry_after: Any) -> AsyncIterator[tuple[ToolCaller, dict[str, Any]]]:
    """Yield a caller and the arguments that repeat its call, whose newest response is `pending`."""
    async with caller(folder) as c:
        await funded(c)
        quote = await quoted(c)
        patch = [{"op": "replace", "path": "/data/retryAfterSeconds", "value": retry_after}]
        await c.control("/faults", kind="patch", path="/withdrawals", method="POST", exact=True, patch=patch)
        error = await c.call("create_withdrawal", **quote)
        assert (error["code"], error["retryable"]) == ("outcome.unknown", True)
        yield c, quote | {"approval_id": error["approval_id"]}


def shift(folder: Path, seconds: float) -> None:
    """Move the time of the newest response."""
    with state(folder) as db:
        db.execute("UPDATE withdrawals SET updated_at = updated_at + ?", (seconds,))


@pytest.mark.parametrize("seconds", INTERVALS)
async def test_repeat_asks_machines_only_after_the_interval(
    tmp_path: Path, answers: ScriptedResponses, seconds: float
) -> None:
    async with pending(tmp_path, seconds) as (c, again):
        for left in (seconds, seconds - 30):
            early = await c.call("create_withdrawal", **again)
            assert (early["code"], early["retryable"]) == ("outcome.unknown", True)
            assert "No money has moved" in early["message"]
            assert 1 <= early["retry_after_seconds"] <= math.ceil(left)
            shift(tmp_path, -30)
        assert len(answers.keys) == 1
        shift(tmp_path, -seconds)
        assert (await c.call("create_withdrawal", **again))["status"] == "ready"
        assert (len(answers.keys), len(set(answers.keys))) == (2, 1)


@pytest.mark.parametrize(("given", "seconds"), [*SHORT.items(), *((odd, PAUSE_SECONDS) for odd in ODD)], ids=str)
def test_interval_is_bounded(given: Any, seconds: float) -> None:
    answer = Withdrawal.model_validate({"status": "pending", "retryAfterSeconds": given})
    assert time_until_poll(answer, 0.0) == seconds
    assert time_until_poll(answer, seconds / 4) == seconds * 3 / 4
    assert time_until_poll(answer, seconds) <= 0
    # The clock was set back.
    assert time_until_poll(answer, -1e-9) <= 0


async def test_other_processes_keep_the_interval(
    tmp_path: Path, answers: ScriptedResponses, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float | None] = []
    real = reconciliation.Reconciler._round

    async def only_once(reconciler: reconciliation.Reconciler) -> None:
        pauses.append(await real(reconciler))

    monkeypatch.setattr(reconciliation.Reconciler, "_round", only_once)
    async with pending(tmp_path, 600) as (c, again):
        settings = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path), "MACHINES_USER_ID": "tool-user"}
        async with opened(read_settings(settings), embedded=c.sandbox) as starting:
            await starting.reconcile()
        async with caller(tmp_path, sandbox=c.sandbox) as later:
            early = await later.call("create_withdrawal", **again)
            for seconds in (pauses[0] or 0, early["retry_after_seconds"]):
                assert 500 < seconds <= 600
            assert len(answers.keys) == 1
            shift(tmp_path, -600)
            assert (await later.call("create_withdrawal", **again))["status"] == "ready"
        assert await upstream(c) == {"pending": 0, "ready": 1}
    assert len(answers.keys) == 2


async def test_interval_counts_anew_from_each_pending_response(tmp_path: Path, answers: ScriptedResponses) -> None:
    answers.next = [None, Withdrawal(status="pending", retry_after_seconds=900)]
    async with pending(tmp_path, 600) as (c, again):
        shift(tmp_path, -600)
        waits = [(await c.call("create_withdrawal", **again))["retry_after_seconds"] for _ in range(2)]
        assert all(840 < wait <= 900 for wait in waits)
        assert len(answers.keys) == 2


async def test_clock_that_was_set_back_does_not_prolong_the_interval(
    tmp_path: Path, answers: ScriptedResponses
) -> None:
    async with pending(tmp_path, DAY) as (c, again):
        shift(tmp_path, 3600)
        assert (await c.call("create_withdrawal", **again))["status"] == "ready"
    assert len(answers.keys) == 2
