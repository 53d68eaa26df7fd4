"""Each precondition of the journey, violated: the error, its next step, and no needless approval."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.redaction.test_characters import FAMILY, PERSIAN
from tests.support.approver import FakeApprover
from tests.support.stdio_client import ERAS, Agent, Era, ToolError, agent, applicant

pytestmark = pytest.mark.anyio

ADDRESS = "0x" + "cd" * 20
TERMS = {"amount_cents": 2500, "currency": "rusd", "network": "base", "address": ADDRESS, "admin_address": ADDRESS}


async def test_before_kyc_every_dependent_call_says_so(user: Agent, person: FakeApprover) -> None:
    await user.call("resolve_user")
    shut = ("kyc.not_approved", "get_kyc_status")
    assert await user.refusal("get_agreements") == shut
    assert await user.refusal("accept_agreements") == shut
    assert await user.refusal("create_session", purpose="cards") == shut
    assert await user.refusal("create_deposit", currency="rusd", network="base") == shut
    assert await user.refusal("create_card") == shut
    assert await user.refusal("list_cards") == shut
    assert person.asked == []


async def test_before_the_agreements_money_and_card_calls_say_so(user: Agent, person: FakeApprover) -> None:
    await user.call("submit_kyc", applicant())
    person.asked.clear()
    shut = ("agreements.not_accepted", "get_agreements")
    assert await user.refusal("create_deposit", currency="rusd", network="base") == shut
    assert await user.refusal("create_card", limit_amount_cents=1, limit_frequency="allTime") == shut
    quote = await user.call("quote_withdrawal", TERMS)
    assert await user.refusal("create_withdrawal", quote_id=quote["quote_id"]) == shut
    assert person.asked == []


async def test_quote_works_once_and_for_its_user_only(user: Agent, other: Agent) -> None:
    await user.to_funded()
    quote = await user.call("quote_withdrawal", TERMS)
    # No call has succeeded for the other user yet.
    assert await other.refusal("create_withdrawal", quote_id=quote["quote_id"]) == ("user.unknown", "resolve_user")
    await user.call("create_withdrawal", quote_id=quote["quote_id"])
    # No next step, because a caller that followed it to another quote would pay out twice.
    assert await user.refusal("create_withdrawal", quote_id=quote["quote_id"]) == ("quote.used", None)
    assert (await user.call("get_balances"))["spending_power_cents"] == 75_00


async def test_another_users_resources_are_not_found(user: Agent, other: Agent, person: FakeApprover) -> None:
    for each in (user, other):
        await each.call("submit_kyc", applicant())
        await each.call("accept_agreements")
    card = (await user.call("create_card"))["card_id"]
    deposit = (await user.call("create_deposit", currency="rusd", network="base"))["deposit_id"]
    person.asked.clear()
    for tool in ("get_card", "close_card", "reveal_card"):
        assert await other.refusal(tool, card_id=card) == ("not_found", "list_cards")
    assert await other.refusal("update_card", card_id=card, status="active") == ("not_found", "list_cards")
    assert await other.refusal("get_deposit", deposit_id=deposit) == ("not_found", "list_deposits")
    assert person.asked == []


@pytest.mark.parametrize("answer", ["decline", "cancel"])
async def test_anything_but_an_approval_changes_nothing(answer: str, user: Agent, person: FakeApprover) -> None:
    person.answer = "decline" if answer == "decline" else "cancel"
    code, _ = await user.refusal("submit_kyc", **applicant())
    assert code == ("approval.refused" if answer == "decline" else "approval.required")
    # Not even the user was made.
    assert await user.refusal("get_kyc_status") == ("user.unknown", "resolve_user")
    await user.call("resolve_user")
    assert (await user.call("get_kyc_status"))["status"] == "not_submitted"
    assert len(person.asked) == 1


@pytest.mark.parametrize("era", ERAS)
async def test_without_a_dialog_the_call_waits_for_desk_or_terminal(era: Era, tmp_path: Path) -> None:
    async with agent(tmp_path, era, dialog=False, MACHINES_USER_ID="gate") as user:
        with pytest.raises(ToolError) as caught:
            await user.call("submit_kyc", applicant())
        assert caught.value.code == "approval.required"
        where, desk = caught.value.body["where"], caught.value.body["desk"]
        assert where == f"at the desk, {desk}, or in a terminal on this machine with machines-mcp approve"
        approval_id = caught.value.body["approval_id"]
        assert [w["approval_id"] for w in (await user.call("status"))["waiting"]] == [approval_id]
        with pytest.raises(ToolError, match=r"approval\.required"):
            await user.call("submit_kyc", applicant(), approval_id=approval_id)


@pytest.mark.parametrize("era", ERAS)
async def test_read_only_server_reads_and_refuses_changes(era: Era, tmp_path: Path) -> None:
    async with agent(tmp_path, era, MACHINES_USER_ID="gate", MACHINES_READ_ONLY="true") as user:
        standing = await user.call("status")
        rules = {p["action"]: p["rule"] for p in standing["permissions"]}
        assert rules == dict.fromkeys(rules, "deny") | {"read": "allow"}
        assert standing["next_steps"] == []
        with pytest.raises(ToolError, match=r"policy\.denied.*MACHINES_READ_ONLY"):
            await user.call("create_session", purpose="kyc")
        listed = {tool.name for tool in (await user.client.list_tools()).tools}
        assert "get_balances" in listed and not listed & {"create_session", "submit_kyc", "create_card", "close_card"}


async def test_nobody_is_asked_for_what_can_be_known_to_be_wrong(user: Agent, person: FakeApprover) -> None:
    await user.to_funded()
    person.asked.clear()
    wrong_checksum = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"
    code, _ = await user.refusal("quote_withdrawal", **TERMS | {"address": wrong_checksum})
    assert code == "input.invalid"
    for label in ("a\u202eb", "null", "a\n"):
        assert (await user.refusal("create_card", label=label))[0] == "input.invalid"
    quote = await user.call("quote_withdrawal", TERMS | {"amount_cents": 40_000_00})
    assert await user.refusal("create_withdrawal", quote_id=quote["quote_id"]) == ("input.invalid", "get_balances")
    assert person.asked == []


async def test_person_reads_the_label_that_is_sent(user: Agent, person: FakeApprover) -> None:
    await user.to_funded()
    for label in (FAMILY, PERSIAN):
        assert (await user.call("create_card", label=label))["label"] == label
        assert label in person.asked[-1]
