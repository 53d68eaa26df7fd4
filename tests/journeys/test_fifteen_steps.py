"""The fifteen steps of the Partner API guide, by the SDK's client over stdio, against the simulator over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journeys.stdio import ERAS, Agent, Era, Person, agent, applicant

pytestmark = pytest.mark.anyio


async def to_funded(user: Agent, **who: str) -> None:
    """Steps 1 to 9."""
    await user.call("create_session", who, purpose="kyc")
    await user.call("resolve_user", who)
    await user.call("submit_kyc", who | applicant())
    await user.call("accept_agreements", who)
    deposit = await user.call("create_deposit", who, currency="rusd", network="base", amount=100)
    await user.call("get_deposit", who, deposit_id=deposit["deposit_id"], wait_seconds=30)


@pytest.mark.parametrize("era", ERAS)
async def test_a_new_user_gets_a_verified_card_in_fifteen_steps(era: Era, tmp_path: Path) -> None:
    person = Person()
    async with agent(tmp_path, era, person) as user:
        who = {"user_id": "journey-1"}

        first = await user.call("create_session", who, purpose="kyc")
        assert first["scopes"] == ["kyc.read", "kyc.write"]
        assert (await user.call("resolve_user", who))["kyc_status"] == "not_submitted"
        needed = await user.call("get_kyc_requirements", who, occupation_query="software developer")
        assert {f["name"] for f in needed["fields"] if f["required"]} <= applicant().keys()
        assert "15-1132" in [o["code"] for o in needed["occupations"]]
        assert (await user.call("submit_kyc", who | applicant()))["status"] == "approved"
        assert (await user.call("get_kyc_status", who))["status"] == "approved"
        shown = await user.call("get_agreements", who)
        assert shown["accepted"] is False and shown["agreements"]
        assert (await user.call("accept_agreements", who))["accepted"] is True

        assets = await user.call("list_deposit_assets", who)
        assert any(a["currency"].lower() == "rusd" for a in assets["assets"])
        quote = await user.call("quote_deposit", who, currency="rusd", network="base", amount=100)
        assert quote["within_range"] and quote["estimated_to_amount"] > 0
        deposit = await user.call("create_deposit", who, currency="rusd", network="base", amount=100)
        assert deposit["deposit_address"]
        arrived = await user.call("get_deposit", who, deposit_id=deposit["deposit_id"], wait_seconds=30)
        assert arrived["status"] == "completed" and "still_waiting" not in arrived
        assert (await user.call("get_balances", who))["spending_power_cents"] == 100_00

        second = await user.call("create_session", who, purpose="cards")
        assert second["session_id"] != first["session_id"]
        card = await user.call(
            "create_card", who, label="Groceries", limit_amount_cents=2500, limit_frequency="per7DayPeriod"
        )
        assert (card["status"], card["label"], card["limit_amount_cents"]) == ("active", "Groceries", 2500)
        revealed = await user.call("reveal_card", who, card_id=card["card_id"])
        assert (revealed["status"], revealed["shown"], revealed["last4"]) == ("verified", "nowhere", card["last4"])

        listed = await user.call("list_cards", who)
        assert [(c["card_id"], c["label"]) for c in listed["cards"]] == [(card["card_id"], "Groceries")]
    assert len(person.asked) == 3, person.asked
    assert all("journey-1" in question for question in person.asked)


@pytest.mark.parametrize("era", ERAS)
async def test_a_withdrawal_follows_its_quote_after_a_persons_yes(era: Era, tmp_path: Path) -> None:
    person = Person()
    async with agent(tmp_path, era, person, MACHINES_USER_ID="journey-2") as user:
        await to_funded(user)
        address = "0x" + "ab" * 20
        quote = await user.call(
            "quote_withdrawal",
            amount_cents=2500,
            currency="rusd",
            network="base",
            address=address,
            admin_address=address,
        )
        made = await user.call("create_withdrawal", quote_id=quote["quote_id"])
        assert (made["status"], made["amount_cents"]) == ("ready", 2500)
        assert made["call_target"].startswith("0x") and made["chain_id"] == 84532
        assert "$25.00" in person.asked[-1] and address in person.asked[-1]
        assert (await user.call("get_balances"))["spending_power_cents"] == 75_00


@pytest.mark.parametrize("era", ERAS)
async def test_cards_are_locked_at_once_and_unlocked_and_closed_after_a_yes(era: Era, tmp_path: Path) -> None:
    person = Person()
    async with agent(tmp_path, era, person, MACHINES_USER_ID="journey-3") as user:
        await to_funded(user)
        card = await user.call("create_card")
        asked = len(person.asked)
        locked = await user.call("update_card", card_id=card["card_id"], status="locked", label="Lost")
        assert (locked["status"], locked["label"], len(person.asked)) == ("locked", "Lost", asked)
        unlocked = await user.call("update_card", card_id=card["card_id"], status="active")
        assert (unlocked["status"], len(person.asked)) == ("active", asked + 1)
        closed = await user.call("close_card", card_id=card["card_id"])
        assert (closed["status"], len(person.asked)) == ("canceled", asked + 2)
