"""Reconcile withdrawals whose response was lost or that stay pending: repeated only if the repetition is a poll."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from machines_mcp.partner import Withdrawal
from machines_mcp.partner.errors import ConnectionLost, PartnerError, RateLimited, Rejected, Unreachable
from machines_mcp.partner.resources.withdrawals import Withdrawals
from machines_mcp.server.app import opened
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.storage.withdrawals import Withdrawals as Rows
from machines_mcp.tools import withdrawal_signature
from tests.support.interrupted import lose_response, short_reconciliation_wait, state, unresolved_call
from tests.support.tool_caller import ToolCaller, caller
from tests.tools.test_withdrawals import ADDRESS, funded

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures(short_reconciliation_wait.__name__)]


async def quoted(c: ToolCaller) -> dict[str, Any]:
    quote = await c.call("quote_withdrawal", amount_cents=2500, currency="rusd", network="base", address=ADDRESS)
    return {"quote_id": quote["quote_id"]}


async def interrupted_withdrawal(c: ToolCaller) -> tuple[dict[str, Any], dict[str, Any]]:
    """Start a withdrawal for a funded user. Returns its arguments and the error."""
    await funded(c)
    quote = await quoted(c)
    return quote, await c.call("create_withdrawal", **quote)


async def upstream(c: ToolCaller) -> dict[str, int]:
    """Count the withdrawals at Machines by status."""
    async with c.sandbox.http() as http:
        (user,) = (await http.get(c.sandbox.control_url)).json()["data"]["users"]
    return {status: user["withdrawals"][status] for status in ("pending", "ready")}


class ScriptedResponses:
    """Scripted responses to the next requests. None keeps the simulator's response; an error follows or replaces it.

    A status stands for a response that is to be repeated after half a second.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.next: list[Exception | Withdrawal | str | None] = []
        self.keys: list[str] = []
        self.bodies: list[str] = []
        real = Withdrawals.create

        async def create(client: Withdrawals, user_id: str, order: Any, *, idempotency_key: str) -> Withdrawal:
            self.keys.append(idempotency_key)
            self.bodies.append(order.model_dump_json())
            planned = self.next.pop(0) if self.next else None
            if isinstance(planned, PartnerError) and planned.outcome_known:
                raise planned
            answer = await real(client, user_id, order, idempotency_key=idempotency_key)
            if isinstance(planned, Exception):
                raise planned
            if isinstance(planned, Withdrawal):
                return planned
            return answer if planned is None else Withdrawal(status=planned, retry_after_seconds=0.5)

        monkeypatch.setattr(Withdrawals, "create", create)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> ScriptedResponses:
    return ScriptedResponses(monkeypatch)


@pytest.mark.parametrize("done", [True, False], ids=["asked", "not-asked"])
async def test_lost_first_response_needs_a_person_and_is_not_repeated(tmp_path: Path, done: bool) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        quote = await quoted(c)
        await lose_response(c, "/withdrawals", done=done)
        approval = await unresolved_call(c, "create_withdrawal", **quote)
        before = await upstream(c)
        for _ in range(2):
            error = await c.call("create_withdrawal", **quote, approval_id=approval)
            assert (error["code"], error["retryable"]) == ("outcome.unknown", False)
            assert "doctor --resolve" in error["message"]
        assert await upstream(c) == before
        assert sum(before.values()) == int(done)
        (shown,) = (await c.call("status"))["unresolved"]
        assert (shown["approval_id"], shown["status"]) == (approval, "needs_person")
        assert shown["withdrawal_id"].startswith("wd_")


async def test_pending_withdrawal_is_polled_with_the_same_request_and_key(
    tmp_path: Path, answers: ScriptedResponses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(withdrawal_signature, "POLL_SECONDS", 0.0)
    async with caller(tmp_path) as c:
        quote, error = await interrupted_withdrawal(c)
        assert (error["code"], error["retryable"]) == ("outcome.unknown", True)
        assert error["retry_after_seconds"] >= 1
        assert "No money has moved" in error["message"]
        again = quote | {"approval_id": error["approval_id"]}
        made = await c.call("create_withdrawal", **again)
        assert (made["status"], made["amount_cents"]) == ("ready", 2500)
        assert await c.call("create_withdrawal", **again) == made
        assert await upstream(c) == {"pending": 0, "ready": 1}
    assert len(set(answers.keys)) == len(set(answers.bodies)) == 1
    assert len(answers.keys) == 2


async def test_pending_withdrawal_is_polled_by_the_next_server(
    tmp_path: Path, answers: ScriptedResponses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(withdrawal_signature, "POLL_SECONDS", 0.0)
    async with caller(tmp_path) as c:
        quote, error = await interrupted_withdrawal(c)
        with state(tmp_path) as db:
            db.execute("UPDATE quotes SET expires_at = 0")
        async with caller(tmp_path, sandbox=c.sandbox) as later:
            made = await later.call("create_withdrawal", **quote, approval_id=error["approval_id"])
        assert made["status"] == "ready"
        assert sum((await upstream(c)).values()) == 1


async def test_server_with_another_policy_leaves_a_pending_withdrawal_alone(
    tmp_path: Path, answers: ScriptedResponses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(withdrawal_signature, "POLL_SECONDS", 0.0)
    recorded: list[str] = []
    real = Rows.record

    async def record(rows: Rows, withdrawal_id: str, status: str, execution: Any = None) -> None:
        recorded.append(status)
        await real(rows, withdrawal_id, status, execution)

    async with caller(tmp_path) as c:
        quote, error = await interrupted_withdrawal(c)
        again = quote | {"approval_id": error["approval_id"]}
        with monkeypatch.context() as patch:
            patch.setattr(Rows, "record", record)
            settings = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path), "MACHINES_READ_ONLY": "true"}
            async with opened(read_settings(settings), embedded=c.sandbox) as other:
                await other.reconcile()
        assert recorded == []
        with state(tmp_path) as db:
            assert db.execute("SELECT status FROM withdrawals").fetchall() == [("pending",)]
        assert len(answers.keys) == 1
        assert (await c.call("create_withdrawal", **again))["status"] == "ready"
        assert await upstream(c) == {"pending": 0, "ready": 1}


async def test_lost_poll_response_needs_a_person(tmp_path: Path, answers: ScriptedResponses) -> None:
    answers.next = [None, ConnectionLost(outcome_known=False)]
    async with caller(tmp_path) as c:
        await funded(c)
        quote = await quoted(c)
        approval = await unresolved_call(c, "create_withdrawal", **quote)
        error = await c.call("create_withdrawal", **quote, approval_id=approval)
        assert "doctor --resolve" in error["message"]
    assert len(answers.keys) == 2


@pytest.mark.parametrize("failed", [RateLimited(), Unreachable()], ids=["limited", "unreachable"])
async def test_failed_poll_is_repeated(
    tmp_path: Path, answers: ScriptedResponses, monkeypatch: pytest.MonkeyPatch, failed: PartnerError
) -> None:
    monkeypatch.setattr(withdrawal_signature, "POLL_SECONDS", 0.0)
    answers.next = [None, failed]
    async with caller(tmp_path) as c:
        quote, error = await interrupted_withdrawal(c)
        made = await c.call("create_withdrawal", **quote, approval_id=error["approval_id"])
        assert made["status"] == "ready"
        assert sum((await upstream(c)).values()) == 1


async def test_rejected_poll_is_final(
    tmp_path: Path, answers: ScriptedResponses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(withdrawal_signature, "POLL_SECONDS", 0.0)
    answers.next = [None, Rejected()]
    async with caller(tmp_path) as c:
        quote, error = await interrupted_withdrawal(c)
        refused = await c.call("create_withdrawal", **quote, approval_id=error["approval_id"])
        assert refused["code"] == "quote.used"
        assert (await c.call("status"))["unresolved"] == []
    assert len(answers.keys) == 2


async def test_quote_of_an_unsent_withdrawal_can_be_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Rows.begin

    async def crash(rows: Rows, *arguments: Any) -> Any:
        await real(rows, *arguments)
        raise RuntimeError

    async with caller(tmp_path) as c:
        await funded(c)
        quote = await quoted(c)
        with monkeypatch.context() as patch:
            patch.setattr(Rows, "begin", crash)
            approval = await unresolved_call(c, "create_withdrawal", **quote)
        assert (await c.call("create_withdrawal", **quote))["code"] == "quote.used"
        made = await c.call("create_withdrawal", **quote, approval_id=approval)
        assert made["status"] == "ready"
        assert await upstream(c) == {"pending": 0, "ready": 1}


async def test_unrecorded_rejection_ends_the_quote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def crash(rows: Rows, *arguments: Any) -> Any:
        raise RuntimeError

    async with caller(tmp_path) as c:
        await funded(c)
        quote = await quoted(c)
        await c.control("/faults", kind="status", status=422, path="/withdrawals", method="POST", exact=True)
        with monkeypatch.context() as patch:
            patch.setattr(Rows, "record", crash)
            approval = await unresolved_call(c, "create_withdrawal", **quote)
        refused = await c.call("create_withdrawal", **quote, approval_id=approval)
        assert refused["code"] == "quote.used"
        assert (await c.call("status"))["unresolved"] == []
        assert await upstream(c) == {"pending": 0, "ready": 0}


async def test_unrecorded_response_is_not_requested_again(
    tmp_path: Path, answers: ScriptedResponses, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Rows.record

    async def crash(rows: Rows, withdrawal_id: str, status: str, *answer: Any) -> None:
        if status == "ready":
            raise RuntimeError
        await real(rows, withdrawal_id, status, *answer)

    async with caller(tmp_path) as c:
        await funded(c)
        quote = await quoted(c)
        with monkeypatch.context() as patch:
            patch.setattr(Rows, "record", crash)
            approval = await unresolved_call(c, "create_withdrawal", **quote)
        error = await c.call("create_withdrawal", **quote, approval_id=approval)
        assert "doctor --resolve" in error["message"]
        assert sum((await upstream(c)).values()) == 1
    assert len(answers.keys) == 2


async def test_quote_is_used_once_by_its_user_before_it_expires(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        used, old, foreign = [await quoted(c) for _ in range(3)]
        assert (await c.call("create_withdrawal", **used))["status"] == "ready"
        assert (await c.call("create_withdrawal", **used))["code"] == "quote.used"
        with state(tmp_path) as db:
            db.execute("UPDATE quotes SET expires_at = 0 WHERE id = ?", (old["quote_id"],))
            db.execute("UPDATE quotes SET user_id = 'another' WHERE id = ?", (foreign["quote_id"],))
        assert (await c.call("create_withdrawal", **old))["code"] == "quote.expired"
        assert (await c.call("create_withdrawal", **foreign))["code"] == "not_found"
        assert sum((await upstream(c)).values()) == 1
