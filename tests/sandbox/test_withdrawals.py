"""Withdrawals: pending once, then ready with a well-formed signature. The balance falls."""

from __future__ import annotations

import base64
import re
from datetime import datetime
from typing import Any

import pytest

from machines_mcp.sandbox.addresses import new_address
from machines_mcp.sandbox.switches import SALT_FORMS
from tests.support.sandbox_caller import SandboxClient, User

ADDRESS = "0x" + "2b" * 20
ETHEREUM, BASE = 11_155_111, 84_532


@pytest.fixture
def user(partner: SandboxClient) -> User:
    return partner.funded_user(100)


def order(cents: int = 5000, **changes: Any) -> dict[str, Any]:
    return {"amountCents": cents, "destination": {"currency": "rusd", "network": "base", "address": ADDRESS}} | changes


def other_destination(**changes: Any) -> dict[str, Any]:
    return {"currency": "hbar", "network": "hbar", "address": "0.0.654321", "extraId": "40001"} | changes


def ask(user: User, body: dict[str, Any], key: str | None = "withdrawal-1") -> Any:
    return user.call("POST", "/withdrawals", body, headers={"Idempotency-Key": key} if key else {})


def execute(user: User) -> None:
    """Use the live signature, so that the next one can be issued."""
    user.caller.control("/withdrawals", {"userId": user.user_id})


def ready(user: User, body: dict[str, Any], key: str | None = "withdrawal-1") -> Any:
    assert ask(user, body, key).data["status"] == "pending"
    data = ask(user, body, key).data
    assert data["status"] == "ready"
    return data


def test_same_request_is_pending_once_then_ready_and_stays_the_same(user: User) -> None:
    first = ask(user, order())
    assert (first.data["status"], first.data["retryAfterSeconds"]) == ("pending", 1)
    assert first.body["next"] == {"pollAfterMs": 1000}
    second = ask(user, order())
    assert second.data["status"] == "ready"
    assert second.body["summary"] == "withdrawal signature"
    assert ask(user, order()).data == second.data


@pytest.mark.parametrize(
    ("source", "path", "version"),
    [
        (None, "coordinator_v2", 2),
        ({}, "coordinator_v2", 2),
        ({"chainId": BASE}, "coordinator_v2", 2),
        ({"chainId": ETHEREUM}, "controller_v1", 1),
    ],
)
def test_both_contract_versions_are_executable(user: User, source: Any, path: str, version: int) -> None:
    body = (
        order(destination=other_destination())
        if source is None
        else order(destination=other_destination(), source=source)
    )
    data = ready(user, body)
    execution, parameters = data["execution"], data["parameters"]
    assert (execution["callPath"], execution["contractVersion"]) == (path, version)
    entry = execution["coordinatorAddress" if version == 2 else "controllerAddress"]
    assert execution["callTarget"] == entry != execution["collateralProxyAddress"]
    assert parameters[0] == execution["collateralProxyAddress"]
    assert parameters == data["signature"]["parameters"]


def test_signature_is_well_formed(user: User) -> None:
    data = ready(user, order())
    proxy, token, amount, recipient, expires_at, salt, signature = data["parameters"]
    for address in (proxy, token, recipient):
        assert re.fullmatch("0x[0-9a-fA-F]{40}", address)
    assert amount == "50000000"
    assert recipient == ADDRESS
    assert expires_at == datetime.fromisoformat(data["expiresAt"]).timestamp()
    assert len(base64.b64decode(salt, validate=True)) == 32
    assert re.fullmatch("0x[0-9a-f]{128}1[bc]", signature)
    assert (data["signature"]["data"], data["signature"]["salt"]) == (signature, salt)


@pytest.mark.parametrize("form", SALT_FORMS)
def test_salt_is_32_bytes_in_the_chosen_form(own_sandbox: SandboxClient, form: str) -> None:
    own_sandbox.control("/salts", {"form": form})
    data = ready(own_sandbox.funded_user(100), order())
    own_sandbox.control("/salts", {"form": "base64"})
    salt = data["parameters"][5]
    read = {"base64": base64.b64decode, "hex": lambda text: bytes.fromhex(text[2:]), "bytes": bytes}
    assert len(read[form](salt)) == 32
    assert data["signature"]["salt"] == salt


def test_only_a_different_asset_needs_a_relay(user: User) -> None:
    assert ready(user, order(1000), "key-direct")["relay"] is None
    execute(user)
    data = ready(user, order(1000, destination=other_destination()), "key-relayed")
    relay = data["relay"]
    assert data["parameters"][3] == relay["payinAddress"] != "0.0.654321"
    assert (relay["payoutAddress"], relay["payoutExtraId"]) == ("0.0.654321", "40001")
    assert (relay["fromCurrency"], relay["fromNetwork"]) == ("rusd", "base")
    assert (relay["toCurrency"], relay["toNetwork"]) == ("hbar", "hbar")


def test_balance_falls_once_and_the_ledger_records_it(user: User) -> None:
    ask(user, order())
    assert user.balances()["spendingPower"] == 5000
    for _ in range(3):
        assert ask(user, order()).data["status"] == "ready"
    assert user.balances()["spendingPower"] == 5000
    execute(user)
    assert user.balances()["spendingPower"] == 5000
    entries = user.call("GET", "/transactions", query={"type": "collateral"}).data["transactions"]
    assert [entry["amountCents"] for entry in entries] == [-5000, 10_000]


def test_amount_above_the_balance_is_rejected_and_holds_nothing(user: User) -> None:
    assert ask(user, order(10_001), "key-too-much").error == (409, "insufficient_balance", None)
    assert ask(user, order(6000), "key-first").data["status"] == "pending"
    assert ask(user, order(5500), "key-second").error == (409, "insufficient_balance", None)
    assert ask(user, order(6000), "key-first").data["status"] == "ready"
    assert user.balances()["spendingPower"] == 4000


def test_pending_withdrawal_releases_its_amount_after_half_an_hour(own_sandbox: SandboxClient) -> None:
    user = own_sandbox.funded_user(100)
    ask(user, order(10_000))
    assert user.balances()["spendingPower"] == 0
    own_sandbox.control("/clock", {"advanceSeconds": 1800})
    user = User(user.user_id, own_sandbox.session(user.user_id), own_sandbox)
    assert user.balances()["spendingPower"] == 10_000
    assert ask(user, order(10_000)).data["status"] == "ready"
    assert user.balances()["spendingPower"] == 0


def test_key_used_for_another_request_is_rejected(user: User) -> None:
    ask(user, order(5000))
    assert ask(user, order(4000)).error == (409, "idempotency_conflict", None)
    ask(user, order(5000))
    assert ask(user, order(4000)).error == (409, "idempotency_conflict", None)


def test_another_user_may_use_the_same_key(partner: SandboxClient) -> None:
    first, second = partner.funded_user(100), partner.funded_user(100)
    ready(first, order(4000))
    assert ask(second, order(5000)).data["status"] == "pending"


def test_equal_request_without_a_key_continues_the_pending_one(user: User) -> None:
    ready(user, order(4000), None)
    execute(user)
    assert user.balances()["spendingPower"] == 6000
    assert ask(user, order(4000), None).data["status"] == "pending"
    assert user.balances()["spendingPower"] == 2000


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"amountCents": ...}, "invalid_request", "amountCents"),
        ({"amountCents": 99}, "invalid_request", "amountCents"),
        ({"amountCents": 50.5}, "invalid_request", "amountCents"),
        ({"destination": ...}, "invalid_request", "destination"),
        ({"destination": {"currency": "rusd", "network": "base"}}, "invalid_request", "destination.address"),
        ({"destination": other_destination(network="base")}, "chain_not_supported", "destination.network"),
        ({"destination": other_destination(currency="doge")}, "invalid_request", "destination.currency"),
        ({"destination": other_destination(extraId="")}, "invalid_request", "destination.extraId"),
        ({"destination": other_destination(currency="eth", network="base")}, "invalid_request", "destination.extraId"),
        ({"destination": other_destination(address="a b")}, "invalid_request", "destination.address"),
        (
            {"destination": {"currency": "rusd", "network": "base", "address": "0x1"}},
            "invalid_request",
            "destination.address",
        ),
        ({"destination": other_destination(), "amountCents": 499}, "invalid_request", "amountCents"),
        ({"source": {"chainId": 1}}, "chain_not_supported", "source.chainId"),
        ({"source": {"tokenAddress": ADDRESS}}, "invalid_request", "source.tokenAddress"),
        ({"source": {"contractId": "another"}}, "invalid_request", "source.contractId"),
        ({"adminAddress": "me"}, "invalid_request", "adminAddress"),
    ],
)
def test_invalid_withdrawal_is_rejected_by_field(user: User, change: dict[str, Any], code: str, field: str) -> None:
    body = {name: value for name, value in (order() | change).items() if value is not ...}
    assert ask(user, body).error == (400, code, field)
    assert user.balances()["spendingPower"] == 10_000


def test_source_may_be_named_by_token_or_contract(user: User) -> None:
    execution = ready(user, order(1000, source={"chainId": ETHEREUM}, destination=other_destination()), "by-chain-id")[
        "execution"
    ]
    named = order(1000, source={"contractId": execution["contractId"]}, destination=other_destination())
    execute(user)
    assert ready(user, named, "by-contract")["execution"] == execution
    execute(user)
    token = user.call("GET", "/deposits/assets", query={"q": "rusd"}).data["assets"][0]["networks"][0]["tokenContract"]
    assert ready(user, order(1000, source={"tokenAddress": token.lower()}), "by-token")["execution"]["chainId"] == BASE


@pytest.mark.parametrize(
    ("destination", "least", "arrives", "memo"),
    [
        (("rusd", "base"), 100, 50.0, False),
        (("hbar", "hbar"), 500, 330.0, True),
        (("btc", "bitcoin"), 500, 0.00055, False),
    ],
)
def test_range_and_estimate_follow_the_price_table(
    user: User, destination: tuple[str, str], least: int, arrives: float, memo: bool
) -> None:
    to = {"currency": destination[0], "network": destination[1]}
    limits = user.call("POST", "/withdrawals/range", {"destination": to}).data["range"]
    assert (limits["minAmountCents"], limits["minAmount"]) == (least, least / 100)
    assert limits["destinationSupportsExtraId"] is memo
    estimate = user.call("POST", "/withdrawals/estimate", {"destination": to, "amountCents": 5000}).data["estimate"]
    assert estimate["estimatedToAmount"] == arrives
    assert (estimate["fromAmount"], estimate["fromAmountCents"]) == (50, 5000)


def test_assets_are_listed_for_a_source_with_collateral(user: User) -> None:
    assert len(user.call("GET", "/withdrawals/assets", query={"sourceChainId": str(BASE)}).data["assets"]) >= 8
    refused = user.call("GET", "/withdrawals/assets", query={"sourceChainId": "1"})
    assert refused.error == (400, "chain_not_supported", "source.chainId")


def fresh_session(user: User) -> User:
    """Return the user with a session that is valid after the clock has moved."""
    return User(user.user_id, user.caller.session(user.user_id), user.caller)


def test_new_keys_reach_ready_like_the_same_key(user: User) -> None:
    assert ask(user, order(), "fresh-key-1").data["status"] == "pending"
    second = ask(user, order(), "fresh-key-2").data
    assert second["status"] == "ready"
    assert ask(user, order(), "fresh-key-1").data == ask(user, order(), "fresh-key-2").data == second
    assert user.balances()["spendingPower"] == 5000


def test_key_that_continued_a_request_belongs_to_its_body(user: User) -> None:
    ask(user, order(5000), "fresh-key-1")
    ask(user, order(5000), "fresh-key-2")
    assert ask(user, order(4000), "fresh-key-2").error == (409, "idempotency_conflict", None)


def test_one_signature_is_live_and_the_next_waits_for_its_end(own_sandbox: SandboxClient) -> None:
    user = own_sandbox.funded_user(100)
    ready(user, order(4000), "the-first")
    waiting = ask(user, order(3000), "the-second")
    assert waiting.data["status"] == "pending"
    assert 1795 <= waiting.data["retryAfterSeconds"] <= 1800
    assert waiting.body["next"] == {"pollAfterMs": waiting.data["retryAfterSeconds"] * 1000}
    own_sandbox.control("/clock", {"advanceSeconds": 600})
    assert 1195 <= ask(user, order(3000), "the-second").data["retryAfterSeconds"] <= 1200
    execute(user)
    assert ask(user, order(3000), "the-second").data["status"] == "ready"
    assert user.balances()["spendingPower"] == 3000


def test_equal_request_is_new_once_the_first_is_signed(user: User) -> None:
    ready(user, order(4000), "the-first")
    assert ask(user, order(4000), "the-second").data["status"] == "pending"
    assert user.balances()["spendingPower"] == 2000


def test_unused_signature_expires_and_returns_its_amount(own_sandbox: SandboxClient) -> None:
    user = own_sandbox.funded_user(100)
    first = ready(user, order(4000), "the-first")
    assert user.balances()["spendingPower"] == 6000
    own_sandbox.control("/clock", {"advanceSeconds": 1801})
    user = fresh_session(user)
    assert user.balances()["spendingPower"] == 10_000
    assert own_sandbox.raw("POST", "/control/withdrawals", json={"userId": user.user_id}).status_code == 404
    assert ask(user, order(4000), "the-first").data == first
    second = ready(user, order(4000), "the-second")
    assert second["expiresAt"] > first["expiresAt"]
    assert user.call("GET", "/transactions").data["transactions"][0]["amountCents"] == 10_000


def test_another_user_does_not_wait(partner: SandboxClient) -> None:
    first, second = partner.funded_user(100), partner.funded_user(100)
    ready(first, order(4000))
    ready(second, order(4000))


def test_solana_withdrawal_is_signed_for_its_program(partner: SandboxClient) -> None:
    user, wallet = partner.funded_user(100), {"chain": "solana", "address": new_address("solana")}
    body = order(1000, destination={"currency": "rusd", "network": "solana", "address": new_address("solana")})
    source = {"source": {"chainId": 901}}
    assert ask(user, body | source).error == (400, "wallet_missing_for_chain", "source")
    partner.partner("/users/resolve", {"externalUserId": user.user_id, "wallet": wallet})
    assert ask(user, body | {"source": {"chainId": BASE}}).error == (400, "wallet_invalid_for_chain", "source")
    data = ready(user, body)
    assert data["relay"] is None
    execution, parameters = data["execution"], data["parameters"]
    assert (execution["callPath"], execution["chainId"], execution["contractVersion"]) == ("solana_v2_02", 901, 2)
    assert execution["controllerAddress"] is None
    assert execution["callTarget"] == execution["coordinatorAddress"]
    assert all(isinstance(parameter, str) for parameter in parameters)
    proxy, mint, amount, recipient, expires_at, salt, signature = parameters
    assert (proxy, recipient) == (execution["collateralProxyAddress"], body["destination"]["address"])
    for account in (proxy, mint, execution["callTarget"]):
        assert re.fullmatch("[1-9A-HJ-NP-Za-km-z]{32,44}", account)
    assert (amount, int(expires_at)) == ("10000000", datetime.fromisoformat(data["expiresAt"]).timestamp())
    assert (len(base64.b64decode(salt)), len(base64.b64decode(signature))) == (32, 64)
