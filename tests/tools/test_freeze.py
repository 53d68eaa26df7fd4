"""A frozen folder answers `policy.frozen` and sends nothing for any call that changes something, in both eras."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from machines_mcp.permissions.channels import ApprovalChannels
from machines_mcp.permissions.decision import Decision
from machines_mcp.protocol import reconciliation
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.server.app import opened
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard
from machines_mcp.storage.journal import Journal
from machines_mcp.testing import Answer, Era, decide
from machines_mcp.tools.catalog import TOOLS
from tests.support.interrupted import lose_response, short_reconciliation_wait, unresolved_call
from tests.support.stdio_client import ERAS, applicant
from tests.support.tool_caller import ToolCaller, caller
from tests.tools.test_reconcile_withdrawals import ScriptedResponses, answers
from tests.tools.test_withdrawals import ADDRESS, funded

pytestmark = pytest.mark.anyio

USER = "tool-user"
TERMS = {"currency": "rusd", "network": "base"}

__all__ = ["answers"]


def env(c: ToolCaller) -> dict[str, str]:
    return {"MACHINES_STATE_DIR": str(c.state_dir), "MACHINES_USER_ID": USER}


async def freeze(c: ToolCaller, user_id: str = "") -> None:
    """Freeze from outside the server, as `machines-mcp freeze` does."""
    async with open_guard(read_settings(env(c))) as guard:
        await guard.freezes.freeze("terminal", user_id)


async def lift(c: ToolCaller, user_id: str = "") -> Decision:
    async with open_guard(read_settings(env(c))) as guard:
        return await guard.freezes.lift("terminal", None, user_id)


async def newest_approval(c: ToolCaller) -> str:
    async with open_guard(read_settings(env(c))) as guard:
        return (await guard.approvals.recent(1))[0].id


@contextmanager
def requests(c: ToolCaller) -> Iterator[list[tuple[str, str]]]:
    """Record the method and path of each request to the simulator's API."""
    transport = c.sandbox.http_transport
    assert transport is not None
    sent: list[tuple[str, str]] = []
    original = transport.handle_async_request

    async def record(request: httpx.Request) -> httpx.Response:
        sent.append((request.method, request.url.path))
        return await original(request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "handle_async_request", record)
        yield sent


async def changes(c: ToolCaller) -> dict[str, list[dict[str, Any]]]:
    """Prepare a user, and return valid arguments of each tool that changes something."""
    await funded(c)
    card = {"card_id": (await c.call("create_card"))["card_id"]}
    quote = await c.call("quote_withdrawal", amount_cents=2_000, address=ADDRESS, **TERMS)
    return {
        "create_session": [{"purpose": "cards"}],
        "resolve_user": [{}, {"wallet_address": "0x" + "ab" * 20}],
        "submit_kyc": [applicant(), {}],
        "accept_agreements": [{}],
        "create_deposit": [{**TERMS, "amount": 50}],
        "create_withdrawal": [{"quote_id": quote["quote_id"]}],
        "confirm_withdrawal": [{"withdrawal_id": "wd_" + "0" * 32, "transaction_hash": "0x" + "ab" * 32}],
        "create_card": [{}],
        "update_card": [
            {**card, "status": "active"},
            {**card, "label": "Food"},
            {**card, "status": "locked", "label": "Food"},
            {**card, "status": "locked", "limit_amount_cents": 100, "limit_frequency": "allTime"},
        ],
        "close_card": [card],
        "reveal_card": [{**card, "sink": sink} for sink in ("none", "page")],
    }


@pytest.mark.parametrize("everyone", [True, False], ids=["everyone", "one user"])
@pytest.mark.parametrize("era", ERAS)
async def test_frozen_changes_send_nothing(tmp_path: Path, era: Era, everyone: bool) -> None:
    async with caller(tmp_path, mode=era) as c:
        given = await changes(c)
        assert given.keys() == {tool.name for tool in TOOLS if not tool.read_only} - {"cancel_approval"}
        await freeze(c, "" if everyone else USER)
        with requests(c) as sent:
            for name, each in given.items():
                for arguments in each:
                    refused = await c.call(name, **arguments)
                    assert (refused["code"], refused["retryable"]) == ("policy.frozen", False), (name, arguments)
                    assert refused["next_steps"][0]["tool"] == "status"
        assert sent == []
        status = await c.call("status")
        assert status["waiting"] == status["unresolved"] == []
        (frozen,) = status["frozen"]
        assert ("of all users" if everyone else f"of the user “{USER}”") in frozen
        assert await lift(c, "" if everyone else USER) == "granted"
        assert (await c.call("create_card"))["status"] == "active"
        assert (await c.call("status"))["frozen"] == []


async def test_reads_and_locking_a_card_work_while_frozen(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        card = (await c.call("create_card"))["card_id"]
        await freeze(c)
        assert (await c.call("update_card", card_id=card, status="locked"))["status"] == "locked"
        assert (await c.call("update_card", card_id=card, status="active"))["code"] == "policy.frozen"
        for name, arguments in {
            "get_kyc_status": {},
            "get_agreements": {},
            "get_balances": {},
            "list_transactions": {},
            "list_cards": {},
            "get_card": {"card_id": card},
            "quote_deposit": {**TERMS, "amount": 50},
        }.items():
            assert "code" not in await c.call(name, **arguments), name


async def test_another_users_freeze_is_neither_applied_nor_shown(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        await freeze(c, "user-2")
        assert (await c.call("create_card"))["status"] == "active"
        assert (await c.call("status"))["frozen"] == []


async def test_a_waiting_approval_survives_a_freeze(tmp_path: Path) -> None:
    async with caller(tmp_path, answer="accept") as c:
        await c.approved()
        async with caller(tmp_path, answer=None, sandbox=c.sandbox) as asking:
            ids = [(await asking.call("create_card", label=label))["approval_id"] for label in ("One", "Two")]
            await freeze(c)
            assert await decide(env(c), ids[0]) == "frozen"
            assert await decide(env(c), ids[1], yes=False) == "refused"
            assert (await asking.call("create_card", label="One", approval_id=ids[0]))["code"] == "policy.frozen"
            assert [each["approval_id"] for each in (await asking.call("status"))["waiting"]] == ids[:1]
            await lift(c)
            assert await decide(env(c), ids[0]) == "granted"
            assert (await asking.call("create_card", label="One", approval_id=ids[0]))["label"] == "One"


@pytest.mark.parametrize("answer", ["accept", "decline"])
@pytest.mark.parametrize("era", ERAS)
async def test_a_freeze_while_the_dialog_is_open_stops_a_yes_and_no_refusal(
    tmp_path: Path, era: Era, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with caller(tmp_path) as c, caller(tmp_path, mode=era, answer=answer, sandbox=c.sandbox) as asking:
        await c.approved()
        original = ApprovalChannels.can_approve

        async def freeze_first(channels: ApprovalChannels, *given: Any) -> bool:
            # The dialog is shown after this.
            await freeze(c)
            return await original(channels, *given)

        monkeypatch.setattr(ApprovalChannels, "can_approve", freeze_first)
        answered = await asking.call("create_card")
        assert answered["code"] == ("policy.frozen" if answer == "accept" else "approval.refused")
        assert len((await c.call("status"))["waiting"]) == (1 if answer == "accept" else 0)
        assert (await c.call("list_cards"))["cards"] == []


@pytest.mark.usefixtures(short_reconciliation_wait.__name__)
@pytest.mark.parametrize("tool", ["create_card", "create_deposit"])
async def test_reconciliation_sends_no_change_again_while_frozen(
    tmp_path: Path, tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "START_SECONDS", 2.0)
    monkeypatch.setattr(reconciliation, "AGAIN_SECONDS", 0.5)
    monkeypatch.setattr(reconciliation, "FROZEN_SECONDS", reconciliation.CALL_SECONDS + 1)
    path, arguments = ("/cards", {}) if tool == "create_card" else ("/deposits", {**TERMS, "amount": 50})
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\nenvironment = "embedded"\n[classes]\nwrite = "ask"\n[cards]\nunbounded = true\n')
    policy.chmod(0o600)
    folder = tmp_path / "state"
    async with caller(folder, policy=policy) as c:
        await c.approved()
        await lose_response(c, path, done=False)
        approval = await unresolved_call(c, tool, **arguments)
        await freeze(c)
        with requests(c) as sent:
            looked_up = await c.call(tool, **arguments, approval_id=approval)
            # A deposit that can't be found was not made; of a card that is unknown until it is made again.
            assert looked_up["code"] == ("outcome.unknown" if tool == "create_card" else "policy.frozen")
            assert "machines-mcp unfreeze" in looked_up["message"]
            assert ("nothing was done" in looked_up["message"]) == (tool == "create_deposit")
            settings = read_settings(env(c) | {"MACHINES_ENV": "embedded", "MACHINES_POLICY": str(policy)})
            async with opened(settings, embedded=c.sandbox) as later:
                await later.reconcile()
        assert [request for request in sent if request[0] != "GET" and not request[1].endswith("/sessions")] == []
        await lift(c)
        assert "code" not in await c.call(tool, **arguments, approval_id=approval)


@pytest.mark.parametrize("polls", [0, 1], ids=["before the request", "between two polls"])
async def test_a_withdrawal_that_a_freeze_interrupts_goes_on_after_it(
    tmp_path: Path, polls: int, answers: ScriptedResponses, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        quote = {
            "quote_id": (await c.call("quote_withdrawal", amount_cents=2_500, address=ADDRESS, **TERMS))["quote_id"]
        }
        answers.next = ["pending"]
        begin = Journal.begin

        async def freeze_first(journal: Journal, *given: Any) -> str:
            if len(answers.keys) == polls + 1:
                await freeze(c)
            return await begin(journal, *given)

        monkeypatch.setattr(Journal, "begin", freeze_first)
        with requests(c) as sent:
            stopped = await c.call("create_withdrawal", **quote)
        assert stopped["code"] == ("outcome.unknown" if polls else "policy.frozen")
        assert len([path for method, path in sent if method == "POST" and path.endswith("/withdrawals")]) == polls
        approval = await newest_approval(c)
        assert (await c.call("create_withdrawal", **quote, approval_id=approval))["code"] == stopped["code"]
        monkeypatch.setattr(Journal, "begin", begin)
        await lift(c)
        made = await c.call("create_withdrawal", **quote, approval_id=approval)
        assert (made["status"], made["amount_cents"]) == ("ready", 2_500)
        assert (await c.call("status"))["unresolved"] == []


async def test_no_card_page_starts_while_frozen(tmp_path: Path) -> None:
    async with caller(tmp_path, answer="accept") as c:
        await c.approved()
        card = (await c.call("create_card"))["card_id"]
        async with caller(tmp_path, answer=None, sandbox=c.sandbox) as asking:
            approval = (await asking.call("reveal_card", card_id=card, sink="page"))["approval_id"]
        await freeze(c)
        with requests(c) as sent:
            async with opened(read_settings(env(c)), embedded=c.sandbox) as desk:
                with pytest.raises(ToolError) as refused:
                    await desk.load().dispatcher.open_page(approval)
        assert (refused.value.code, sent) == (Code.POLICY_FROZEN, [])
        assert [each["approval_id"] for each in (await c.call("status"))["waiting"]] == [approval]


@pytest.mark.parametrize("era", ERAS)
async def test_calls_that_ran_return_their_outcome_while_frozen(tmp_path: Path, era: Era) -> None:
    ran: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    async with caller(tmp_path, mode=era) as c:

        async def run(tool: str, **arguments: Any) -> dict[str, Any]:
            outcome = await c.call(tool, **arguments)
            assert "code" not in outcome, outcome
            ran[tool] = arguments | {"approval_id": await newest_approval(c)}, outcome
            return outcome

        await run("submit_kyc", **applicant())
        await run("accept_agreements")
        await funded(c)
        card = (await run("create_card"))["card_id"]
        await run("update_card", card_id=card, limit_amount_cents=500, limit_frequency="allTime")
        await run("close_card", card_id=card)
        quote = await c.call("quote_withdrawal", amount_cents=2_000, address=ADDRESS, **TERMS)
        await run("create_withdrawal", quote_id=quote["quote_id"])
        await freeze(c)
        with requests(c) as sent:
            for tool, (again, outcome) in ran.items():
                repeated = await c.call(tool, **again)
                assert repeated == outcome, tool
                assert (await c.call(tool, **again | {"approval_id": "0" * 32}))["code"] == "policy.frozen"
        assert sent == []
