"""The control API triggers events that no API caller could, from this computer only."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from machines_mcp.sandbox.control import CONTROLS as SERVED
from tests.support.sandbox_caller import SandboxClient, User

CONTROLS = [
    ("GET", "", None),
    ("POST", "/kyc", {"userId": "nobody", "decision": "approved"}),
    ("POST", "/deposits", {"depositId": "nothing"}),
    ("POST", "/withdrawals", {"userId": "nobody"}),
    ("POST", "/spend", {"cardId": "nothing", "amountCents": 1}),
    ("POST", "/clock", {"advanceSeconds": 1}),
    ("GET", "/faults", None),
    ("POST", "/faults", {"kind": "drop", "path": "/cards"}),
    ("POST", "/faults/clear", {}),
    ("POST", "/rate", {"calls": 1}),
    ("POST", "/provisioning", {"slow": True}),
    ("POST", "/keys", {"honoured": False}),
    ("POST", "/salts", {"form": "hex"}),
    ("POST", "/texts", {"place": "asset", "text": "x"}),
    ("POST", "/reset", {}),
]


def test_every_control_is_tested_from_another_origin() -> None:
    assert [(method, path) for method, path, _ in CONTROLS] == [(method, path) for method, path, _ in SERVED]


def control(partner: SandboxClient, path: str, body: Any) -> Any:
    return partner.raw("POST", "/control" + path, json=body)


def pay(user: User, card_id: str, cents: int) -> tuple[bool, str | None]:
    data = user.caller.control("/spend", {"cardId": card_id, "amountCents": cents})
    return data["approved"], data["reason"]


def test_summary_shows_the_progress_of_each_user(partner: SandboxClient) -> None:
    user = partner.funded_user(25)
    card_id = user.new_card()
    (seen,) = (entry for entry in partner.control("")["users"] if entry["userId"] == user.user_id)
    assert (seen["kycStatus"], seen["agreementsAccepted"], seen["spendingPower"]) == ("approved", True, 2500)
    assert [deposit["completed"] for deposit in seen["deposits"]] == [True]
    assert [(card["cardId"], card["status"]) for card in seen["cards"]] == [(card_id, "active")]


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/kyc", {"userId": "nobody", "decision": "approved"}, 404, None),
        ("/kyc", {"userId": "nobody", "decision": "forgotten"}, 400, "decision"),
        ("/deposits", {"depositId": "nothing"}, 404, None),
        ("/withdrawals", {"userId": "nobody"}, 404, None),
        ("/withdrawals", {}, 400, "userId"),
        ("/spend", {"cardId": "nothing", "amountCents": 1}, 404, None),
        ("/spend", {"cardId": "nothing", "amountCents": 0}, 400, "amountCents"),
        ("/clock", {"advanceSeconds": -1}, 400, "advanceSeconds"),
        ("/clock", {}, 400, "advanceSeconds"),
        ("/texts", {"place": "summary", "text": "x"}, 400, "place"),
        ("/texts", {"place": "label", "text": "x" * 8193}, 400, "text"),
    ],
)
def test_invalid_control_is_rejected_by_field(
    partner: SandboxClient, path: str, body: Any, status: int, field: str | None
) -> None:
    response = control(partner, path, body)
    assert response.status_code == status
    assert response.json()["errors"][0].get("field") == field


def test_card_pays_while_active_and_funded(partner: SandboxClient) -> None:
    user = partner.funded_user(10)
    card_id = user.new_card()
    assert pay(user, card_id, 1001) == (False, "insufficient_balance")
    assert pay(user, card_id, 600) == (True, None)
    assert pay(user, card_id, 600) == (False, "insufficient_balance")
    user.call("PATCH", f"/cards/{card_id}", {"status": "locked"})
    assert pay(user, card_id, 100) == (False, "card_not_active")
    assert user.balances()["spendingPower"] == 400
    entries = user.call("GET", "/transactions", query={"type": "spend"}).data["transactions"]
    assert [entry["status"] for entry in entries] == ["declined", "declined", "pending", "declined"]


@pytest.mark.parametrize(
    ("frequency", "window"),
    [
        ("perAuthorization", 0),
        ("per24HourPeriod", 1),
        ("per7DayPeriod", 7),
        ("per30DayPeriod", 30),
        ("perYearPeriod", 365),
    ],
)
def test_limit_counts_spending_in_its_window(own_sandbox: SandboxClient, frequency: str, window: int) -> None:
    user = own_sandbox.funded_user(100)
    card_id = user.new_card(limit={"amountCents": 1000, "frequency": frequency})
    assert pay(user, card_id, 1001) == (False, "card_limit")
    assert pay(user, card_id, 700) == (True, None)
    second = pay(user, card_id, 700)
    assert second == ((True, None) if frequency == "perAuthorization" else (False, "card_limit"))
    if window:
        own_sandbox.control("/clock", {"advanceSeconds": window * 86_400})
        assert pay(user, card_id, 700) == (True, None)


def test_all_time_limit_never_resets(own_sandbox: SandboxClient) -> None:
    user = own_sandbox.funded_user(100)
    card_id = user.new_card(limit={"amountCents": 1000, "frequency": "allTime"})
    assert pay(user, card_id, 700) == (True, None)
    own_sandbox.control("/clock", {"advanceSeconds": 10 * 365 * 86_400})
    assert pay(user, card_id, 700) == (False, "card_limit")
    assert pay(user, card_id, 300) == (True, None)


def test_reset_forgets_users_and_sessions_and_keeps_the_partner_key(own_sandbox: SandboxClient) -> None:
    user = own_sandbox.funded_user(10)
    user.new_card()
    own_sandbox.control("/reset", {})
    assert own_sandbox.control("")["users"] == []
    assert user.call("GET", "/balances").error == (401, "unauthorized", None)
    assert own_sandbox.funded_user(5).balances()["spendingPower"] == 500


@pytest.mark.parametrize(("method", "path", "body"), CONTROLS)
def test_page_of_another_origin_is_refused(partner: SandboxClient, method: str, path: str, body: Any) -> None:
    for headers in (
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ):
        response: httpx.Response = partner.raw(method, "/control" + path, json=body, headers=headers)
        assert response.status_code == 403
    allowed = {"Host": partner.sandbox.origin.removeprefix("http://").replace("127.0.0.1", "localhost")}
    if path in ("", "/kyc"):
        assert partner.raw(method, "/control" + path, json=body, headers=allowed).status_code == (404 if path else 200)
