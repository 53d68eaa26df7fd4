"""A withdrawal whose answer was lost, or that stays pending: asked for again only where that is a poll."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from machines_mcp.partner import Withdrawal
from machines_mcp.partner.errors import ConnectionLost, PartnerError, RateLimited, Rejected, Unreachable
from machines_mcp.partner.resources.withdrawals import Withdrawals
from machines_mcp.storage.withdrawals import Withdrawals as Rows
from machines_mcp.tools import reconcile_withdrawals
from tests.tools.interrupted import in_doubt, lose, settles_soon, state
from tests.tools.simulated import Caller, caller
from tests.tools.test_money import ADDRESS, funded

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures(settles_soon.__name__)]


async def quoted(c: Caller) -> dict[str, Any]:
    quote = await c.call("quote_withdrawal", amount_cents=2500, currency="rusd", network="base", address=ADDRESS)
    return {"quote_id": quote["quote_id"]}


async def upstream(c: Caller) -> dict[str, int]:
    """How many withdrawals Machines has, by their status."""
    async with c.sandbox.http() as http:
        (user,) = (await http.get(c.sandbox.control_url)).json()["data"]["users"]
    return {status: user["withdrawals"][status] for status in ("pending", "ready")}


class Answers:
    """Answers for the next askings in turn: None is the simulator's own, an error comes after or instead of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.next: list[Exception | str | None] = []
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
            return answer if planned is None else Withdrawal(status=planned, retry_after_seconds=0.5)

        monkeypatch.setattr(Withdrawals, "create", create)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    return Answers(monkeypatch)


@pytest.mark.parametrize("done", [True, False], ids=["asked", "not-asked"])
async def test_a_first_answer_that_is_lost_is_for_a_person_and_never_asked_for_again(
    tmp_path: Path, done: bool
) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        quote = await quoted(c)
        await lose(c, "/withdrawals", done=done)
        approval = await in_doubt(c, "create_withdrawal", **quote)
        before = await upstream(c)
        for _ in range(2):
            error = await c.call("create_withdrawal", **quote, approval_id=approval)
            assert (error["code"], error["retryable"]) == ("outcome.unknown", False)
            assert "doctor --resolve" in error["message"]
        assert await upstream(c) == before
        assert sum(before.values()) == int(done)
        (shown,) = (await c.call("status"))["unresolved"]
        assert (shown["approval_id"], shown["status"]) == (approval, "manual")
        assert shown["withdrawal_id"].startswith("wd_")


async def test_what_stays_pending_is_found_again_by_the_same_call_with_the_same_request_and_key(
    tmp_path: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile_withdrawals, "POLL_SECONDS", 0.0)
    async with caller(tmp_path) as c:
        await funded(c)
        quote = await quoted(c)
        error = await c.call("create_withdrawal", **quote)
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


async def test_what_is_pending_when_the_server_ends_is_polled_by_the_next_one(
    tmp_path: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile_withdrawals, "POLL_SECONDS", 0.0)
    async with caller(tmp_path) as c:
        await funded(c)
        quote = await quoted(c)
        error = await c.call("create_withdrawal", **quote)
        with state(tmp_path) as db:
            db.execute("UPDATE quotes SET expires_at = 0")
        async with caller(tmp_path, sandbox=c.sandbox) as later:
            made = await later.call("create_withdrawal", **quote, approval_id=error["approval_id"])
        assert made["status"] == "ready"
        assert sum((await upstream(c)).values()) == 1


async def test_a_poll_whose_answer_is_lost_is_for_a_person(tmp_path: Path, answers: Answers) -> None:
    answers.next = [None, ConnectionLost(outcome_known=False)]
    async with caller(tmp_path) as c:
        await funded(c)
        quote = await quoted(c)
        approval = await in_doubt(c, "create_withdrawal", **quote)
        error = await c.call("create_withdrawal", **quote, approval_id=approval)
        assert "doctor --resolve" in error["message"]
    assert len(answers.keys) == 2


@pytest.mark.parametrize("failed", [RateLimited(), Unreachable()], ids=["limited", "unreachable"])
async def test_a_poll_that_does_not_get_through_is_made_again(
    tmp_path: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch, failed: PartnerError
) -> None:
    monkeypatch.setattr(reconcile_withdrawals, "POLL_SECONDS", 0.0)
    answers.next = [None, failed]
    async with caller(tmp_path) as c:
        await funded(c)
        quote = await quoted(c)
        error = await c.call("create_withdrawal", **quote)
        made = await c.call("create_withdrawal", **quote, approval_id=error["approval_id"])
        assert made["status"] == "ready"
        assert sum((await upstream(c)).values()) == 1


async def test_a_poll_that_is_refused_is_the_end_of_it(
    tmp_path: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile_withdrawals, "POLL_SECONDS", 0.0)
    answers.next = [None, Rejected()]
    async with caller(tmp_path) as c:
        await funded(c)
        quote = await quoted(c)
        error = await c.call("create_withdrawal", **quote)
        refused = await c.call("create_withdrawal", **quote, approval_id=error["approval_id"])
        assert refused["code"] == "quote.used"
        assert (await c.call("status"))["unresolved"] == []
    assert len(answers.keys) == 2


async def test_a_quote_for_which_nothing_was_sent_can_be_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Rows.begin

    async def crash(rows: Rows, *arguments: Any) -> Any:
        await real(rows, *arguments)
        raise RuntimeError

    async with caller(tmp_path) as c:
        await funded(c)
        quote = await quoted(c)
        with monkeypatch.context() as patch:
            patch.setattr(Rows, "begin", crash)
            approval = await in_doubt(c, "create_withdrawal", **quote)
        assert (await c.call("create_withdrawal", **quote))["code"] == "quote.used"
        made = await c.call("create_withdrawal", **quote, approval_id=approval)
        assert made["status"] == "ready"
        assert await upstream(c) == {"pending": 0, "ready": 1}


async def test_a_refusal_that_could_not_be_written_down_is_the_end_of_the_quote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(rows: Rows, *arguments: Any) -> Any:
        raise RuntimeError

    async with caller(tmp_path) as c:
        await funded(c)
        quote = await quoted(c)
        await c.control("/faults", kind="status", status=422, path="/withdrawals", method="POST", exact=True)
        with monkeypatch.context() as patch:
            patch.setattr(Rows, "record", crash)
            approval = await in_doubt(c, "create_withdrawal", **quote)
        refused = await c.call("create_withdrawal", **quote, approval_id=approval)
        assert refused["code"] == "quote.used"
        assert (await c.call("status"))["unresolved"] == []
        assert await upstream(c) == {"pending": 0, "ready": 0}


async def test_an_answer_that_could_not_be_written_down_is_not_asked_for_again(
    tmp_path: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Rows.record

    async def crash(rows: Rows, withdrawal_id: str, status: str, execution: Any = None) -> None:
        if status == "ready":
            raise RuntimeError
        await real(rows, withdrawal_id, status, execution)

    async with caller(tmp_path) as c:
        await funded(c)
        quote = await quoted(c)
        with monkeypatch.context() as patch:
            patch.setattr(Rows, "record", crash)
            approval = await in_doubt(c, "create_withdrawal", **quote)
        error = await c.call("create_withdrawal", **quote, approval_id=approval)
        assert "doctor --resolve" in error["message"]
        assert sum((await upstream(c)).values()) == 1
    assert len(answers.keys) == 2


async def test_a_quote_is_used_once_and_is_nobody_elses_and_not_older_than_it_says(tmp_path: Path) -> None:
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
