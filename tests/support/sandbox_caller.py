"""Call a sandbox over HTTP as a partner would, and validate every response against the contract."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests.contract.judge import EXAMPLES, contract
from tests.support.running_sandbox import Sandbox
from tests.support.waiting import PATIENCE

ALL_SCOPES = (
    *("users.read", "users.write", "kyc.read", "kyc.write", "cards.read", "cards.write", "cards.secrets.read"),
    *("encryption.read", "encryption.write", "deposits.read", "deposits.write", "transactions.read"),
    *("withdrawals.write", "balances.read"),
)
KYC_SCOPES = ("kyc.read", "kyc.write")


@dataclass(frozen=True)
class Reply:
    """A sandbox response that conforms to the contract."""

    status: int
    body: Any
    headers: httpx.Headers

    @property
    def data(self) -> Any:
        """Return the data of a success. Otherwise fail the test with the error."""
        assert self.status == 200, self.body
        return self.body["data"]

    @property
    def error(self) -> tuple[int, str, str | None]:
        """Return status, code and field of an error."""
        first = self.body["errors"][0]
        return self.status, first["code"], first.get("field")

    @property
    def message(self) -> str:
        message: str = self.body["errors"][0]["message"]
        return message


class SandboxClient:
    """One keep-alive connection to a sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._client = httpx.Client(timeout=PATIENCE, trust_env=False)
        self._numbers = itertools.count(1)

    def close(self) -> None:
        self._client.close()

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Reply:
        """Send a request to the Partner API, with `body` as JSON or `raw` unchanged."""
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        content = json.dumps(body).encode() if body is not None else raw
        if content is not None:
            sent["Content-Type"] = "application/json"
        sent |= headers or {}
        response = self._client.request(
            method, self.sandbox.base_url + path, content=content, headers=sent, params=query
        )
        parsed = response.json()
        found = contract().response_violations(method, path, response.status_code, parsed, request_headers=sent)
        assert found == [], (method, path, response.status_code)
        if response.status_code >= 400 and "errors" in parsed and response.status_code != 405:
            assert parsed["errors"][0]["code"] in contract().known_codes(response.status_code)
        return Reply(response.status_code, parsed, response.headers)

    def partner(self, path: str, body: object = None, *, key: str | None = None) -> Reply:
        """Send a request with the partner key."""
        return self.call("POST", path, body, headers={"X-Partner-Key": key or self.sandbox.partner_key})

    def control(self, path: str, body: object = None) -> Any:
        """Call the control API and return its data."""
        method = "GET" if body is None else "POST"
        response = self._client.request(method, self.sandbox.control_url + path, json=body)
        assert response.status_code == 200, response.text
        return response.json()["data"]

    def raw(self, method: str, url: str, **more: Any) -> httpx.Response:
        """Send any request to the sandbox's origin, without validation."""
        return self._client.request(method, self.sandbox.origin + url, **more)

    def new_user(self) -> str:
        return f"user-{next(self._numbers)}-{uuid.uuid4().hex[:8]}"

    def session(self, user_id: str, *scopes: str, ttl: int = 900) -> str:
        """Return a session token of the user."""
        body = {"userId": user_id, "scopes": list(scopes or ALL_SCOPES), "ttlSeconds": ttl}
        token: str = self.partner("/sessions", body).data["sessionToken"]
        return token

    def approved_user(self) -> str:
        """Return a user whose KYC is approved."""
        user_id = self.new_user()
        token = self.session(user_id, *KYC_SCOPES)
        assert self.call("POST", "/kyc/applications", kyc_form(), token=token).data["status"] == "approved"
        return user_id

    def ready_user(self) -> User:
        """Return a user with approved KYC and accepted agreements."""
        user_id = self.approved_user()
        token = self.session(user_id)
        assert self.call("POST", "/agreements", {"accepted": True}, token=token).data["accepted"]
        return User(user_id, token, self)

    def funded_user(self, dollars: float) -> User:
        """Return a ready user with this balance."""
        user = self.ready_user()
        deposit = user.call("POST", "/deposits", {"currency": "rusd", "network": "base", "amount": dollars}).data
        self.control("/deposits", {"depositId": deposit["deposit"]["id"]})
        return user


@dataclass(frozen=True)
class User:
    """A user with a session that has all scopes."""

    user_id: str
    token: str
    caller: SandboxClient

    def call(self, method: str, path: str, body: object = None, **more: Any) -> Reply:
        return self.caller.call(method, path, body, token=self.token, **more)

    def balances(self) -> dict[str, int]:
        balances: dict[str, int] = self.call("GET", "/balances").data["balances"]
        return balances

    def new_card(self, **body: object) -> str:
        card_id: str = self.call("POST", "/cards", body).data["cardId"]
        return card_id


def example(name: str) -> Any:
    """Return an example request of the contract: method, path and, if any, body."""
    return json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))["request"]


def kyc_form(**changes: object) -> dict[str, Any]:
    """Return a form that is approved immediately, with changes. `...` removes a field."""
    form = example("submitKycApplication")["body"] | changes
    return {name: value for name, value in form.items() if value is not ...}
