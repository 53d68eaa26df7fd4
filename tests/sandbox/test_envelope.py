"""Every response has the documented envelope, or the Open Responses envelope if requested."""

from __future__ import annotations

import json
import re

import pytest

from tests.contract.judge import contract
from tests.support.sandbox_caller import SandboxClient

# The documented methods of each documented path.
SERVED = {
    operation.template: {other.method for other in contract().operations if other.template == operation.template}
    for operation in contract().operations
}


@pytest.mark.parametrize("path", ["/nothing", "/cards/secrets/session/x", "/sessions/", "/kyc/schema", "/"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_unknown_path_is_not_found_in_the_envelope(partner: SandboxClient, method: str, path: str) -> None:
    assert partner.call(method, path).error == (404, "not_found", None)


@pytest.mark.parametrize("path", sorted(SERVED))
def test_wrong_method_is_rejected_with_the_allowed_methods(partner: SandboxClient, path: str) -> None:
    allowed = SERVED[path] | ({"HEAD"} if "GET" in SERVED[path] else set())
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"):
        if method in allowed:
            continue
        reply = partner.call(method, path.replace("{", "").replace("}", ""))
        assert reply.error == (405, "method_not_allowed", None)
        assert sorted(reply.headers["allow"].split(", ")) == sorted(allowed)


@pytest.mark.parametrize("flag", ["1", "true"])
@pytest.mark.parametrize("call_id", ["call-of-the-caller", None])
def test_open_responses_mode_wraps_a_success(partner: SandboxClient, flag: str, call_id: str | None) -> None:
    headers = {"X-Open-Responses": flag} | ({"X-Open-Responses-Call-Id": call_id} if call_id else {})
    reply = partner.ready_user().call("POST", "/cards", {}, headers=_authorized(partner, headers))
    message, output = reply.body["output"]
    assert reply.body["status"] == "completed"
    assert message["content"][0]["text"] == "card created"
    assert re.fullmatch(call_id or r"call_\w+", output["call_id"])
    assert json.loads(output["output"])["data"]["status"] == "active"


def _authorized(partner: SandboxClient, headers: dict[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {partner.ready_user().token}"} | headers


def test_open_responses_mode_wraps_an_error_and_keeps_its_status(partner: SandboxClient) -> None:
    reply = partner.call("GET", "/balances", headers={"X-Open-Responses": "1"})
    assert (reply.status, reply.body["status"], reply.body["error"]["code"]) == (401, "failed", "unauthorized")
    partner.call("GET", "/nothing", headers={"X-Open-Responses": "0"})


def test_other_flag_values_are_ignored(partner: SandboxClient) -> None:
    reply = partner.call("GET", "/balances", headers={"X-Open-Responses": "yes"})
    assert reply.error == (401, "unauthorized", None)


def test_open_responses_mode_does_not_change_idempotency(partner: SandboxClient) -> None:
    user = partner.ready_user()
    headers = {"Idempotency-Key": "the-same-key"}
    first = user.call("POST", "/cards", {}, headers=headers).data
    wrapped = user.call("POST", "/cards", {}, headers=headers | {"X-Open-Responses": "1"})
    assert json.loads(wrapped.body["output"][1]["output"])["data"] == first
