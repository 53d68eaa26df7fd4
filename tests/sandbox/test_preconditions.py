"""Which requests are accepted, and in which order the checks reject the others."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.judge import Operation, contract
from tests.support.sandbox_caller import ALL_SCOPES, KYC_SCOPES, SandboxClient, example

BY_SESSION = [operation for operation in contract().operations if not operation.partner_key]
BY_KEY = [operation for operation in contract().operations if operation.partner_key]
SCOPED = [operation for operation in BY_SESSION if operation.scope]
GATED = [operation for operation in BY_SESSION if "agreements" in operation.gates]
UNSIGNED = "eyJhbGciOiJub25lIn0.e30."


def named(operation: Operation) -> str:
    return operation.operation_id


def request(operation: Operation) -> tuple[str, str, Any]:
    sent = example(operation.operation_id)
    return sent["method"], sent["path"], sent.get("body")


@pytest.mark.parametrize("operation", BY_KEY, ids=named)
@pytest.mark.parametrize("key", ["", "wrong", "wröng", "sandbox-partner-" + "0" * 32])
def test_partner_key_is_required(partner: SandboxClient, operation: Operation, key: str) -> None:
    method, path, body = request(operation)
    headers = {"X-Partner-Key": key} if key else None
    reply = partner.call(method, path, body, headers=_latin(headers))
    assert reply.error == (401, "unauthorized", None)


def _latin(headers: dict[str, str] | None) -> Any:
    return {name: value.encode("latin-1") for name, value in headers.items()} if headers else None


@pytest.mark.parametrize("operation", BY_SESSION, ids=named)
def test_valid_session_token_is_required(partner: SandboxClient, operation: Operation) -> None:
    method, path, body = request(operation)
    token = partner.session(partner.new_user(), *KYC_SCOPES)
    head, payload, _ = token.split(".")
    for header in ({}, *({"Authorization": text} for text in ("Bearer", f"Basic {token}", f"Bearer {UNSIGNED}"))):
        assert partner.call(method, path, body, headers=header).error == (401, "unauthorized", None)
    forged = f"{head}.{payload}.{'A' * 43}"
    assert partner.call(method, path, body, token=forged).error == (401, "unauthorized", None)
    assert partner.call(method, path, body, headers={"X-Partner-Key": partner.sandbox.partner_key}).status == 401


@pytest.mark.parametrize("operation", SCOPED, ids=named)
def test_session_without_the_scope_is_forbidden(partner: SandboxClient, operation: Operation) -> None:
    method, path, body = request(operation)
    user_id = partner.approved_user()
    others = [scope for scope in ALL_SCOPES if scope != operation.scope]
    reply = partner.call(method, path, body, token=partner.session(user_id, *others))
    assert reply.error == (403, "forbidden", None)
    assert partner.call(method, path, body, token=partner.session(user_id, str(operation.scope))).status != 403


@pytest.mark.parametrize("operation", [op for op in BY_SESSION if not op.scope], ids=named)
def test_operation_without_a_documented_scope_accepts_any_session(partner: SandboxClient, operation: Operation) -> None:
    method, path, body = request(operation)
    assert partner.call(method, path, body, token=partner.session(partner.new_user(), "kyc.read")).status != 403


@pytest.mark.parametrize("operation", BY_SESSION, ids=named)
def test_kyc_and_agreements_gate_the_documented_operations(partner: SandboxClient, operation: Operation) -> None:
    method, path, body = request(operation)
    user_id = partner.approved_user()
    token = partner.session(user_id)
    before_agreements = partner.call(method, path, body, token=token)
    closed = before_agreements.status == 409 and before_agreements.message == "agreements required"
    assert closed == ("agreements" in operation.gates)
    partner.control("/kyc", {"userId": user_id, "decision": "locked"})
    locked = partner.call(method, path, body, token=token)
    assert (locked.status == 409 and locked.message == "kyc required") == ("kyc" in operation.gates)


@pytest.mark.parametrize("scopes", [[scope] for scope in ALL_SCOPES] + [["kyc.read", "cards.read"]], ids="+".join)
def test_only_kyc_scopes_are_granted_before_kyc(partner: SandboxClient, scopes: list[str]) -> None:
    reply = partner.partner("/sessions", {"userId": partner.new_user(), "scopes": scopes})
    if set(scopes) <= set(KYC_SCOPES):
        assert reply.data["scopes"] == scopes
    else:
        assert reply.error == (409, "kyc_required", None)
        assert reply.message == "kyc required"


@pytest.mark.parametrize("operation", GATED, ids=named)
def test_checks_run_in_the_documented_order(own_sandbox: SandboxClient, operation: Operation) -> None:
    """Start with everything wrong. Each step fixes the rejected part, and the next check rejects."""
    method, path, body = request(operation)
    good, broken = body, {"limit": 1, "currency": 1}
    user_id = own_sandbox.approved_user()
    narrow = own_sandbox.session(user_id, *KYC_SCOPES, ttl=60)
    own_sandbox.control("/kyc", {"userId": user_id, "decision": "denied"})

    def attempt(token: str | None, sent: object) -> tuple[int, str]:
        reply = own_sandbox.call(method, path, sent, token=token)
        return (reply.status, "") if reply.status == 200 else (reply.status, reply.message)

    assert attempt(None, broken) == (401, "missing session token")
    own_sandbox.control("/clock", {"advanceSeconds": 60})
    assert attempt(narrow, broken) == (401, "session expired")
    narrow = own_sandbox.session(user_id, *KYC_SCOPES)
    if operation.scope:
        assert attempt(narrow, broken) == (403, f"missing scope {operation.scope}")
    own_sandbox.control("/kyc", {"userId": user_id, "decision": "approved"})
    wide = own_sandbox.session(user_id)
    own_sandbox.control("/kyc", {"userId": user_id, "decision": "denied"})
    assert attempt(wide, broken) == (409, "kyc required")
    own_sandbox.control("/kyc", {"userId": user_id, "decision": "approved"})
    assert attempt(wide, broken) == (409, "agreements required")
    own_sandbox.call("POST", "/agreements", {"accepted": True}, token=wide)
    assert attempt(wide, broken)[0] == 400
    assert attempt(wide, good)[0] in (200, 409)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/cards/{}"), ("PATCH", "/cards/{}"), ("DELETE", "/cards/{}"), ("POST", "/cards/{}/secrets")],
)
def test_missing_resource_is_not_found_before_the_body_is_read(partner: SandboxClient, method: str, path: str) -> None:
    user, other = partner.ready_user(), partner.ready_user()
    for card_id in ("short", "0" * 36, other.new_card(), "%00%00%00%00%00%00%00%00"):
        raw = b"{" if method in ("PATCH", "POST") else None
        assert user.call(method, path.format(card_id), raw=raw).error == (404, "not_found", None)
    if method in ("PATCH", "POST"):
        assert user.call(method, path.format(user.new_card()), raw=b"{").error == (400, "invalid_request", None)


def test_another_users_deposit_is_not_found(partner: SandboxClient) -> None:
    deposit = partner.ready_user().call("POST", "/deposits", {"currency": "rusd", "network": "base"}).data["deposit"]
    assert partner.ready_user().call("GET", f"/deposits/{deposit['id']}").error == (404, "not_found", None)


def test_resource_state_is_checked_last(partner: SandboxClient) -> None:
    user = partner.ready_user()
    card_id = user.new_card()
    user.call("DELETE", f"/cards/{card_id}")
    assert user.call("PATCH", f"/cards/{card_id}", {"status": "open"}).error == (400, "invalid_request", "status")
    assert user.call("PATCH", f"/cards/{card_id}", {"status": "active"}).error == (409, "invalid_state", None)
