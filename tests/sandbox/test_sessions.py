"""Sessions and users: user creation, token contents and expiry."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

import pytest

from tests.support.sandbox_caller import KYC_SCOPES, SandboxClient

EVM = "0x" + "aB" * 20
SOLANA = "So1" + "x" * 40


def claims(token: str) -> Any:
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def test_session_creates_the_user_and_resolve_finds_it(partner: SandboxClient) -> None:
    user_id = partner.new_user()
    partner.session(user_id, "kyc.read")
    created = next(user for user in partner.control("")["users"] if user["userId"] == user_id)
    assert created["kycStatus"] == "not_submitted"
    reply = partner.partner("/users/resolve", {"userId": user_id})
    assert reply.data["kycStatus"] == "not_submitted"
    assert reply.body["summary"] == "user linked; kyc not started"
    assert partner.partner("/users/resolve", {"userId": user_id}).data == reply.data


@pytest.mark.parametrize("path", ["/sessions", "/users/resolve"])
def test_evm_wallet_is_stored_in_lower_case_by_both_endpoints(partner: SandboxClient, path: str) -> None:
    first, second = partner.new_user(), partner.new_user()
    partner.partner(path, {"userId": first, "walletAddress": EVM, "scopes": ["kyc.read"]})
    partner.partner(
        path, {"externalUserId": second, "wallet": {"chain": "evm", "address": EVM}, "scopes": ["kyc.read"]}
    )
    for user_id in (first, second):
        data = partner.partner("/users/resolve", {"userId": user_id}).data
        assert data["walletAddress"] == EVM.lower()
        assert data["wallet"] == {"chain": "evm", "address": EVM.lower()}


def test_solana_wallet_keeps_its_case_and_is_returned(partner: SandboxClient) -> None:
    wallet = {"chain": "solana", "address": SOLANA}
    body = {"externalUserId": partner.new_user(), "wallet": wallet, "scopes": ["kyc.read"]}
    assert partner.partner("/sessions", body).data["wallet"] == wallet


def test_later_wallet_replaces_the_first_and_no_wallet_keeps_it(partner: SandboxClient) -> None:
    user_id, other = partner.new_user(), "0x" + "1" * 40
    partner.partner("/users/resolve", {"userId": user_id, "walletAddress": EVM})
    assert partner.partner("/users/resolve", {"userId": user_id}).data["walletAddress"] == EVM.lower()
    body = {"userId": user_id, "walletAddress": other}
    assert partner.partner("/users/resolve", body).data["walletAddress"] == other


def test_token_is_a_jwt_with_user_scopes_wallet_and_expiry(partner: SandboxClient) -> None:
    body = {"userId": partner.new_user(), "scopes": list(KYC_SCOPES), "ttlSeconds": 9001, "walletAddress": EVM}
    data = partner.partner("/sessions", body).data
    said = claims(data["sessionToken"])
    assert (said["sub"], said["scopes"], said["wallet"]) == (body["userId"], list(KYC_SCOPES), EVM.lower())
    assert said["exp"] - said["iat"] == 9001
    assert datetime.fromisoformat(data["expiresAt"]).timestamp() == said["exp"]


def test_session_lasts_fifteen_minutes_by_default(own_sandbox: SandboxClient) -> None:
    user_id = own_sandbox.new_user()
    body = {"userId": user_id, "scopes": ["kyc.read"]}
    default = own_sandbox.partner("/sessions", body).data["sessionToken"]
    longer = own_sandbox.session(user_id, "kyc.read", ttl=3600)
    assert claims(default)["exp"] - claims(default)["iat"] == 900
    own_sandbox.control("/clock", {"advanceSeconds": 890})
    assert own_sandbox.call("GET", "/kyc/status", token=default).status == 200
    own_sandbox.control("/clock", {"advanceSeconds": 10})
    expired = own_sandbox.call("GET", "/kyc/status", token=default)
    assert (expired.status, expired.message) == (401, "session expired")
    assert own_sandbox.call("GET", "/kyc/status", token=longer).status == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"userId": ...}, "userId"),
        ({"userId": ""}, "userId"),
        ({"userId": "u" * 121}, "userId"),
        ({"externalUserId": "another"}, "externalUserId"),
        ({"scopes": ...}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": "kyc.read"}, "scopes"),
        ({"scopes": ["kyc.read", "everything"]}, "scopes"),
        ({"scopes": [1]}, "scopes"),
        ({"ttlSeconds": 59}, "ttlSeconds"),
        ({"ttlSeconds": 86_401}, "ttlSeconds"),
        ({"ttlSeconds": 900.5}, "ttlSeconds"),
        ({"ttlSeconds": True}, "ttlSeconds"),
        ({"walletAddress": "0x12"}, "walletAddress"),
        ({"walletAddress": EVM + "\n"}, "walletAddress"),
        ({"wallet": {"chain": "tron", "address": EVM}}, "wallet.chain"),
        ({"wallet": {"chain": "solana", "address": EVM}}, "wallet.address"),
        ({"sessionLabel": "x" * 121}, "sessionLabel"),
    ],
)
def test_invalid_session_request_is_rejected_by_field(
    partner: SandboxClient, change: dict[str, Any], field: str
) -> None:
    body = {"userId": partner.new_user(), "scopes": ["kyc.read"]} | change
    reply = partner.partner("/sessions", {name: value for name, value in body.items() if value is not ...})
    assert reply.error == (400, "invalid_request", field)


def test_rejected_session_creates_no_user(partner: SandboxClient) -> None:
    user_id = partner.new_user()
    assert partner.partner("/sessions", {"userId": user_id, "scopes": ["cards.read"]}).status == 409
    assert user_id not in {user["userId"] for user in partner.control("")["users"]}


def test_scopes_are_deduplicated_and_balances_read_is_accepted(partner: SandboxClient) -> None:
    body = {"userId": partner.approved_user(), "scopes": ["balances.read", "cards.read", "balances.read"]}
    assert partner.partner("/sessions", body).data["scopes"] == ["balances.read", "cards.read"]
