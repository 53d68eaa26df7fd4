"""Deposits: available assets, deposit addresses, and automatic completion."""

from __future__ import annotations

import re
from typing import Any

import pytest

from machines_mcp.sandbox.addresses import new_address
from machines_mcp.sandbox.deposits import MAX_LISTED
from tests.support.sandbox_caller import SandboxClient, User

DIRECT = {("rusd", "base"), ("usdc", "ethereum"), ("rusd", "solana")}


@pytest.fixture(scope="module")
def user(partner: SandboxClient) -> User:
    return partner.ready_user()


def assets(user: User, **query: str) -> list[Any]:
    found: list[Any] = user.call("GET", "/deposits/assets", query=query).data["assets"]
    return found


def link(user: User, chain: str) -> None:
    """Link a wallet of the chain's family. The last linked wallet counts."""
    wallet = {"chain": chain, "address": new_address(chain)}
    linked = user.caller.partner("/users/resolve", {"externalUserId": user.user_id, "wallet": wallet}).data["wallet"]
    assert linked == wallet


def pairs(user: User) -> list[tuple[str, str, bool]]:
    return [
        (asset["ticker"], network["id"], network["supportsExtraId"])
        for asset in assets(user)
        for network in asset["networks"]
    ]


def test_catalogue_has_eight_tickers_on_five_networks_some_with_memos(user: User) -> None:
    found = pairs(user)
    assert len({ticker for ticker, _, _ in found}) >= 8
    assert len({network for _, network, _ in found}) >= 5
    assert {network for _, network, memo in found if memo} == {"hbar", "ripple", "stellar"}


def test_catalogue_search_matches_ticker_and_name_and_is_limited(user: User) -> None:
    assert {asset["ticker"] for asset in assets(user, q="USD")} == {"rusd", "usdc", "usdt"}
    assert [asset["ticker"] for asset in assets(user, q="hedera")] == ["hbar"]
    assert assets(user, q="nothing like it") == []
    assert len(assets(user, limit="3")) == 3


def test_every_listed_pair_has_range_estimate_address_and_memo(user: User) -> None:
    for ticker, network, memo in pairs(user):
        route = {"currency": ticker, "network": network}
        direct = (ticker, network) in DIRECT
        link(user, "solana" if direct and network == "solana" else "evm")
        limits = user.call("POST", "/deposits/range", route).data["range"]
        amount = limits["minAmount"] * 2
        quote = user.call("POST", "/deposits/estimate", route | {"amount": amount}).data["estimate"]
        deposit = user.call("POST", "/deposits", route | {"amount": amount}).data["deposit"]
        assert (deposit["changeNowId"] is None, quote["rateId"] is None) == (direct, direct)
        assert (deposit["payinExtraId"] is not None) == memo
        assert deposit["depositAddress"]
        assert deposit["contractId"] == limits["contractId"]
        assert (limits["toCurrency"], limits["toNetwork"]) == ((ticker, network) if direct else ("rusd", "base"))


@pytest.mark.parametrize(
    ("route", "amount", "currency", "arrives"),
    [
        (("rusd", "base"), 25, "crypto", 25.0),
        (("hbar", "hbar"), 1000, "crypto", 148.5),
        (("btc", "bitcoin"), 0.01, "crypto", 891.0),
        (("hbar", "hbar"), 100, "usd", 99.0),
        (("eth", "base"), 0.0333, "crypto", 98.9),
    ],
)
def test_estimate_follows_the_price_table(
    user: User, route: tuple[str, str], amount: float, currency: str, arrives: float
) -> None:
    body = {"currency": route[0], "network": route[1], "amount": amount, "amountCurrency": currency}
    estimate = user.call("POST", "/deposits/estimate", body).data["estimate"]
    assert estimate["estimatedToAmount"] == arrives
    assert (estimate["quotedAmount"], estimate["quotedAmountCurrency"]) == (amount, currency)


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"currency": "doge"}, "invalid_request", "currency"),
        ({"network": "bitcoin"}, "chain_not_supported", "network"),
        ({"network": "nowhere"}, "chain_not_supported", "network"),
        ({"amount": 0}, "invalid_request", "amount"),
        ({"amount": -5}, "invalid_request", "amount"),
        ({"amount": 0.5}, "invalid_request", "amount"),
        ({"amount": "25"}, "invalid_request", "amount"),
        ({"amount": 2e12}, "invalid_request", "amount"),
        ({"currency": "sol", "network": "solana", "amount": 334}, "invalid_request", "amount"),
        ({"currency": "sol", "network": "solana", "amount": 0.03}, "invalid_request", "amount"),
    ],
)
@pytest.mark.parametrize("path", ["/deposits", "/deposits/estimate"])
def test_invalid_deposit_is_rejected_by_field(
    user: User, path: str, change: dict[str, Any], code: str, field: str
) -> None:
    body = {"currency": "rusd", "network": "base", "amount": 25} | change
    assert user.call("POST", path, body).error == (400, code, field)


@pytest.mark.parametrize(
    ("route", "stages"),
    [
        (("rusd", "base"), ["pending", "confirming", "completed"]),
        (("xrp", "ripple"), ["pending", "confirming", "exchanging", "completed"]),
    ],
)
def test_deposit_completes_within_three_seconds(
    own_sandbox: SandboxClient, route: tuple[str, str], stages: list[str]
) -> None:
    user = own_sandbox.ready_user()
    body = {"currency": route[0], "network": route[1], "amount": 50}
    reply = user.call("POST", "/deposits", body)
    deposit_id, seen = reply.data["deposit"]["id"], [reply.data["deposit"]["status"]]
    assert 0 < reply.body["next"]["pollAfterMs"] <= 901
    for _ in range(3):
        assert user.balances()["spendingPower"] == 0 or seen[-1] == "completed"
        own_sandbox.control("/clock", {"advanceSeconds": 1})
        reply = user.call("GET", f"/deposits/{deposit_id}")
        seen.append(reply.data["deposit"]["status"])
    assert list(dict.fromkeys(seen)) == stages
    assert "next" not in reply.body
    assert reply.data["deposit"]["updatedAt"] > reply.data["deposit"]["createdAt"]
    assert user.balances()["spendingPower"] == (5000 if route[0] == "rusd" else 9900)


def test_completed_deposit_raises_the_balance_and_adds_a_transaction(partner: SandboxClient) -> None:
    user = partner.ready_user()
    deposit = user.call("POST", "/deposits", {"currency": "rusd", "network": "base", "amount": 12.34}).data["deposit"]
    assert user.balances()["spendingPower"] == 0
    assert user.call("GET", "/transactions").data["transactions"] == []
    partner.control("/deposits", {"depositId": deposit["id"]})
    assert user.balances() == {
        "spendingPower": 1234,
        "creditLimit": 1234,
        "pendingCharges": 0,
        "postedCharges": 0,
        "balanceDue": 0,
    }
    (entry,) = user.call("GET", "/transactions").data["transactions"]
    assert (entry["type"], entry["amountCents"], entry["status"]) == ("collateral", 1234, "posted")


def test_deposit_without_an_amount_brings_a_hundred_dollars(partner: SandboxClient) -> None:
    user = partner.ready_user()
    deposit = user.call("POST", "/deposits", {"currency": "rusd", "network": "base"}).data["deposit"]
    partner.control("/deposits", {"depositId": deposit["id"]})
    assert user.balances()["spendingPower"] == 10_000


def test_active_list_drops_deposits_completed_an_hour_ago(own_sandbox: SandboxClient) -> None:
    user = own_sandbox.ready_user()
    first = user.call("POST", "/deposits", {"currency": "rusd", "network": "base"}).data["deposit"]["id"]
    own_sandbox.control("/clock", {"advanceSeconds": 3700})
    user = User(user.user_id, own_sandbox.session(user.user_id), own_sandbox)
    second = user.call("POST", "/deposits", {"currency": "rusd", "network": "base"}).data["deposit"]["id"]

    def listed(**query: str) -> list[str]:
        return [deposit["id"] for deposit in user.call("GET", "/deposits", query=query).data["deposits"]]

    assert listed() == listed(scope="active") == [second]
    assert listed(scope="all") == [second, first]


@pytest.mark.parametrize("scope", ["active", "all"])
def test_list_is_limited_to_the_newest_200(partner: SandboxClient, scope: str) -> None:
    user = partner.ready_user()
    made = [
        user.call("POST", "/deposits", {"currency": "rusd", "network": "base"}).data["deposit"]["id"]
        for _ in range(MAX_LISTED + 1)
    ]
    listed = user.call("GET", "/deposits", query={"scope": scope}).data["deposits"]
    assert [deposit["id"] for deposit in listed] == made[:0:-1]
    assert len(listed) == 200


@pytest.mark.parametrize(
    ("chain", "network", "code"),
    [
        (None, "base", None),
        ("evm", "base", None),
        ("solana", "base", "wallet_invalid_for_chain"),
        (None, "solana", "wallet_missing_for_chain"),
        ("evm", "solana", "wallet_invalid_for_chain"),
        ("solana", "solana", None),
    ],
)
def test_direct_deposit_requires_a_wallet_of_the_chains_family(
    partner: SandboxClient, chain: str | None, network: str, code: str | None
) -> None:
    user = partner.ready_user()
    if chain:
        link(user, chain)
    reply = user.call("POST", "/deposits", {"currency": "rusd", "network": network, "amount": 5})
    if code:
        assert reply.error == (400, code, "network")
    else:
        assert reply.data["deposit"]["fromNetwork"] == network


def test_solana_deposit_goes_to_the_devnet_contract(partner: SandboxClient) -> None:
    user = partner.ready_user()
    link(user, "solana")
    route = {"currency": "rusd", "network": "solana"}
    limits = user.call("POST", "/deposits/range", route).data["range"]
    assert (limits["toNetwork"], limits["payoutChainId"]) == ("solana", 901)
    deposit = user.call("POST", "/deposits", route | {"amount": 7.5}).data["deposit"]
    assert (deposit["chainId"], deposit["changeNowId"], deposit["contractId"]) == (901, None, limits["contractId"])
    assert re.fullmatch("[1-9A-HJ-NP-Za-km-z]{32,44}", deposit["depositAddress"])
    assert deposit["depositAddress"] != limits["payoutAddress"]
    partner.control("/deposits", {"depositId": deposit["id"]})
    assert user.balances()["spendingPower"] == 750


def test_exchanged_deposit_goes_to_the_linked_wallets_contract(partner: SandboxClient) -> None:
    user = partner.ready_user()
    route = {"currency": "hbar", "network": "hbar"}
    assert user.call("POST", "/deposits/range", route).data["range"]["toNetwork"] == "base"
    link(user, "solana")
    assert user.call("POST", "/deposits/range", route).data["range"]["toNetwork"] == "solana"
    assert user.call("POST", "/deposits", route | {"amount": 100}).status == 200


def test_every_solana_token_has_a_solana_address(user: User) -> None:
    tokens = [
        network["tokenContract"]
        for asset in assets(user)
        for network in asset["networks"]
        if network["id"] == "solana" and asset["ticker"] != "sol"
    ]
    assert len(tokens) == 2
    assert all(re.fullmatch("[1-9A-HJ-NP-Za-km-z]{32,44}", token) for token in tokens)
