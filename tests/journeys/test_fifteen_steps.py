"""The fifteen steps of the Partner API guide, with the SDK's client over stdio and the simulator over HTTP."""

from __future__ import annotations

import pytest

from tests.support.approver import FakeApprover
from tests.support.stdio_client import Agent, applicant

pytestmark = pytest.mark.anyio


@pytest.mark.process
async def test_new_user_gets_a_verified_card_in_fifteen_steps(user: Agent, person: FakeApprover) -> None:
    first = await user.call("create_session", purpose="kyc")
    assert first["scopes"] == ["kyc.read", "kyc.write"]
    assert (await user.call("resolve_user"))["kyc_status"] == "not_submitted"
    needed = await user.call("get_kyc_requirements")
    assert {f["name"] for f in needed["fields"] if f["required"]} == applicant().keys()
    jobs = await user.call("get_kyc_requirements", occupation_query="software developer")
    assert "15-1132" in [o["code"] for o in jobs["occupations"]]
    assert (await user.call("submit_kyc", applicant()))["status"] == "approved"
    assert (await user.call("get_kyc_status"))["status"] == "approved"
    shown = await user.call("get_agreements")
    assert shown["accepted"] is False and shown["agreements"]
    assert (await user.call("accept_agreements"))["accepted"] is True

    assets = await user.call("list_deposit_assets")
    assert "rusd" in [a["currency"] for a in assets["assets"]]
    quote = await user.call("quote_deposit", currency="rusd", network="base", amount=100)
    assert quote["within_range"] and quote["estimated_to_amount"] > 0
    deposit = await user.call("create_deposit", currency="rusd", network="base", amount=100)
    assert (deposit["status"], (await user.call("get_balances"))["spending_power_cents"]) == ("pending", 0)
    arrived = await user.call("get_deposit", deposit_id=deposit["deposit_id"], wait_seconds=30)
    assert arrived["status"] == "completed" and "still_waiting" not in arrived
    assert arrived["deposit_address"] == deposit["deposit_address"]
    assert (await user.call("get_balances"))["spending_power_cents"] == 100_00

    second = await user.call("create_session", purpose="cards")
    assert second["session_id"] != first["session_id"]
    limit = {"limit_amount_cents": 2500, "limit_frequency": "per7DayPeriod"}
    card = await user.call("create_card", limit, label="Groceries")
    assert (card["status"], card["label"], card["limit_amount_cents"]) == ("active", "Groceries", 2500)
    revealed = await user.call("reveal_card", card_id=card["card_id"])
    assert (revealed["status"], revealed["shown"], revealed["last4"]) == ("verified", "nowhere", card["last4"])

    listed = await user.call("list_cards")
    assert [(c["card_id"], c["label"]) for c in listed["cards"]] == [(card["card_id"], "Groceries")]
    assert len(person.asked) == 3, person.asked
    assert all(str(user.who) in question for question in person.asked)


async def test_withdrawal_follows_its_quote_after_approval(user: Agent, person: FakeApprover) -> None:
    await user.to_funded()
    address = "0x" + "ab" * 20
    terms = {"amount_cents": 2500, "currency": "rusd", "network": "base", "address": address}
    quote = await user.call("quote_withdrawal", terms, admin_address=address)
    made = await user.call("create_withdrawal", quote_id=quote["quote_id"])
    assert (made["status"], made["amount_cents"]) == ("ready", 2500)
    assert made["call_target"].startswith("0x") and made["chain_id"] == 84532
    assert "$25.00" in person.asked[-1] and address in person.asked[-1]
    assert (await user.call("get_balances"))["spending_power_cents"] == 75_00


async def test_cards_lock_immediately_and_unlock_and_close_after_approval(user: Agent, person: FakeApprover) -> None:
    await user.to_funded()
    card = await user.call("create_card")
    person.asked.clear()
    locked = await user.call("update_card", card_id=card["card_id"], status="locked", label="Lost")
    assert (locked["status"], locked["label"], person.asked) == ("locked", "Lost", [])
    unlocked = await user.call("update_card", card_id=card["card_id"], status="active")
    assert (unlocked["status"], len(person.asked)) == ("active", 1)
    closed = await user.call("close_card", card_id=card["card_id"])
    assert (closed["status"], len(person.asked)) == ("canceled", 2)
    assert all(card["last4"] in question for question in person.asked)
