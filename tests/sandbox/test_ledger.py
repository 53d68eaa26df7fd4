"""The ledger: balances add up, and transactions are listed newest first by page."""

from __future__ import annotations

import uuid

import pytest

from tests.support.sandbox_caller import SandboxClient, User


def spend(user: User, card_id: str, cents: int, merchant: str = "Test Shop") -> str:
    body = {"cardId": card_id, "amountCents": cents, "merchantName": merchant}
    transaction_id: str = user.caller.control("/spend", body)["transactionId"]
    return transaction_id


def test_charge_is_pending_and_posts_three_seconds_later(own_sandbox: SandboxClient) -> None:
    user = own_sandbox.funded_user(100)
    card_id = user.new_card()
    transaction_id = spend(user, card_id, 1250, "Corner Shop")
    assert user.balances() == {
        "spendingPower": 8750,
        "creditLimit": 10_000,
        "pendingCharges": 1250,
        "postedCharges": 0,
        "balanceDue": 0,
    }
    own_sandbox.control("/clock", {"advanceSeconds": 3})
    assert user.balances() == {
        "spendingPower": 8750,
        "creditLimit": 10_000,
        "pendingCharges": 0,
        "postedCharges": 1250,
        "balanceDue": 1250,
    }
    (entry,) = user.call("GET", "/transactions", query={"type": "spend"}).data["transactions"]
    assert entry["transactionId"] == transaction_id
    assert (entry["status"], entry["merchantName"], entry["cardId"]) == ("posted", "Corner Shop", card_id)


def test_transactions_are_listed_newest_first_by_page(partner: SandboxClient) -> None:
    user = partner.funded_user(100)
    card_id = user.new_card()
    made = [spend(user, card_id, cents) for cents in range(1, 6)]
    seen: list[str] = []
    query = {"limit": "2", "type": "spend"}
    while True:
        page = user.call("GET", "/transactions", query=query).data
        seen += [entry["transactionId"] for entry in page["transactions"]]
        if "nextCursor" not in page:
            break
        query["cursor"] = page["nextCursor"]
    assert seen == made[::-1]


def test_page_does_not_shift_when_transactions_are_added(partner: SandboxClient) -> None:
    user = partner.funded_user(100)
    card_id = user.new_card()
    made = [spend(user, card_id, cents) for cents in range(1, 5)]
    first = user.call("GET", "/transactions", query={"limit": "2", "type": "spend"}).data
    spend(user, card_id, 99)
    second = user.call(
        "GET", "/transactions", query={"limit": "9", "type": "spend", "cursor": first["nextCursor"]}
    ).data
    assert [entry["transactionId"] for entry in second["transactions"]] == made[1::-1]


def test_transactions_are_filtered_by_type_and_card(partner: SandboxClient) -> None:
    user = partner.funded_user(100)
    one, other = user.new_card(), user.new_card()
    spend(user, one, 100)
    spend(user, other, 200)

    def amounts(**query: str) -> list[int]:
        entries = user.call("GET", "/transactions", query=query).data["transactions"]
        return [entry["amountCents"] for entry in entries]

    assert amounts() == [200, 100, 10_000]
    assert amounts(type="collateral") == [10_000]
    assert amounts(type="spend,collateral") == [200, 100, 10_000]
    assert amounts(type="fee,payment") == []
    assert amounts(cardId=one) == [100]
    assert amounts(cardId=one.upper()) == [100]
    assert amounts(cardId=str(uuid.uuid4())) == []


def test_another_users_transactions_are_never_listed(partner: SandboxClient) -> None:
    user = partner.funded_user(100)
    card_id = user.new_card()
    spend(user, card_id, 100)
    other = partner.ready_user()
    assert other.call("GET", "/transactions").data["transactions"] == []
    assert other.call("GET", "/transactions", query={"cardId": card_id}).data["transactions"] == []


@pytest.mark.parametrize("limit", ["1", "200"])
def test_page_size_accepts_both_documented_bounds(partner: SandboxClient, limit: str) -> None:
    entries = partner.funded_user(1).call("GET", "/transactions", query={"limit": limit}).data["transactions"]
    assert len(entries) == 1
