"""Each gate of the journey, hit out of order: the catalogue's error, its next step, and nobody asked for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.journeys.stdio import ERAS, Agent, Era, Person, ToolError, agent, applicant
from tests.journeys.test_fifteen_steps import to_funded

pytestmark = pytest.mark.anyio

ADDRESS = "0x" + "cd" * 20


async def refusal(user: Agent, tool: str, **arguments: Any) -> tuple[str, str | None]:
    with pytest.raises(ToolError) as caught:
        await user.call(tool, arguments)
    return caught.value.code, caught.value.next_tool


@pytest.mark.parametrize("era", ERAS)
async def test_before_kyc_everything_behind_it_says_so(era: Era, tmp_path: Path) -> None:
    person = Person()
    async with agent(tmp_path, era, person, MACHINES_USER_ID="gate-1") as user:
        await user.call("resolve_user")
        shut = ("kyc.not_approved", "get_kyc_status")
        assert await refusal(user, "get_agreements") == shut
        assert await refusal(user, "accept_agreements") == shut
        assert await refusal(user, "create_session", purpose="cards") == shut
        assert await refusal(user, "create_deposit", currency="rusd", network="base") == shut
        assert await refusal(user, "create_card") == shut
        assert await refusal(user, "list_cards") == shut
    assert person.asked == []


@pytest.mark.parametrize("era", ERAS)
async def test_before_the_agreements_money_and_cards_say_so(era: Era, tmp_path: Path) -> None:
    person = Person()
    async with agent(tmp_path, era, person, MACHINES_USER_ID="gate-2") as user:
        await user.call("submit_kyc", applicant())
        person.asked.clear()
        shut = ("agreements.not_accepted", "get_agreements")
        assert await refusal(user, "create_deposit", currency="rusd", network="base") == shut
        assert await refusal(user, "create_card", limit_amount_cents=1, limit_frequency="allTime") == shut
        assert person.asked == []
        quote = await user.call("quote_withdrawal", amount_cents=2500, currency="rusd", network="base", address=ADDRESS)
        assert await refusal(user, "create_withdrawal", quote_id=quote["quote_id"]) == shut


@pytest.mark.parametrize("era", ERAS)
async def test_a_quote_works_once_and_for_its_user_only(era: Era, tmp_path: Path) -> None:
    async with agent(tmp_path, era, Person()) as user:
        await to_funded(user, user_id="gate-3")
        terms = {"amount_cents": 2500, "currency": "rusd", "network": "base", "address": ADDRESS}
        quote = await user.call("quote_withdrawal", terms, user_id="gate-3")
        used = {"quote_id": quote["quote_id"]}
        assert await refusal(user, "create_withdrawal", user_id="other", **used) == ("not_found", "quote_withdrawal")
        await user.call("create_withdrawal", used, user_id="gate-3")
        assert await refusal(user, "create_withdrawal", user_id="gate-3", **used) == ("quote.used", "quote_withdrawal")


@pytest.mark.parametrize("era", ERAS)
async def test_what_belongs_to_another_user_is_not_found(era: Era, tmp_path: Path) -> None:
    person = Person()
    async with agent(tmp_path, era, person) as user:
        await to_funded(user, user_id="gate-4")
        await to_funded(user, user_id="gate-5")
        card = await user.call("create_card", user_id="gate-4")
        person.asked.clear()
        foreign = {"user_id": "gate-5", "card_id": card["card_id"]}
        for tool in ("get_card", "close_card", "reveal_card"):
            assert await refusal(user, tool, **foreign) == ("not_found", "list_cards")
        assert await refusal(user, "update_card", status="active", **foreign) == ("not_found", "list_cards")
        assert await refusal(user, "get_deposit", user_id="gate-5", deposit_id="dep_none_such") == (
            "not_found",
            "list_deposits",
        )
    assert person.asked == []


@pytest.mark.parametrize("era", ERAS)
async def test_without_a_dialog_the_call_waits_for_a_terminal(era: Era, tmp_path: Path) -> None:
    async with agent(tmp_path, era, None, MACHINES_USER_ID="gate-6") as user:
        with pytest.raises(ToolError) as caught:
            await user.call("submit_kyc", applicant())
        assert caught.value.code == "approval.required"
        assert caught.value.body["where"] == "in a terminal on this machine: machines-mcp approve"
        approval_id = caught.value.body["approval_id"]
        assert [w["approval_id"] for w in (await user.call("status"))["waiting"]] == [approval_id]
        with pytest.raises(ToolError, match=r"approval\.required"):
            await user.call("submit_kyc", applicant(), approval_id=approval_id)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("answer", ["decline", "cancel"])
async def test_anything_but_a_yes_changes_nothing(era: Era, answer: str, tmp_path: Path) -> None:
    person = Person("decline" if answer == "decline" else "cancel")
    async with agent(tmp_path, era, person, MACHINES_USER_ID="gate-7") as user:
        with pytest.raises(ToolError) as caught:
            await user.call("submit_kyc", applicant())
        assert caught.value.code == ("approval.refused" if answer == "decline" else "approval.required")
        assert (await user.call("get_kyc_status"))["status"] == "not_submitted"
        assert len(person.asked) == 1


@pytest.mark.parametrize("era", ERAS)
async def test_a_read_only_server_reads_and_refuses_the_rest(era: Era, tmp_path: Path) -> None:
    async with agent(tmp_path, era, Person(), MACHINES_USER_ID="gate-8", MACHINES_READ_ONLY="true") as user:
        standing = await user.call("status")
        rules = {p["action"]: p["rule"] for p in standing["permissions"]}
        assert rules == dict.fromkeys(rules, "deny") | {"read": "allow"}
        with pytest.raises(ToolError, match=r"policy\.denied.*MACHINES_READ_ONLY"):
            await user.call("create_session", purpose="kyc")
