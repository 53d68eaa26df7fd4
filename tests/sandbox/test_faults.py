"""Faults: an armed fault affects the given number of next calls to its path, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from machines_mcp.sandbox import fault_responses
from machines_mcp.sandbox.faults import KINDS
from tests.contract.judge import contract
from tests.support.sandbox_caller import SandboxClient, User


@pytest.fixture
def user(own_sandbox: SandboxClient) -> Iterator[User]:
    yield own_sandbox.ready_user()
    own_sandbox.control("/faults/clear", {})


def arm(user: User, **fault: Any) -> None:
    user.caller.control("/faults", fault)


def get(user: User, path: str = "/cards") -> httpx.Response:
    """Send a request without validating the response."""
    return user.caller.raw("GET", "/partner/v1" + path, headers={"Authorization": f"Bearer {user.token}"})


def new_card(user: User) -> httpx.Response:
    return user.caller.raw("POST", "/partner/v1/cards", json={}, headers={"Authorization": f"Bearer {user.token}"})


def cards(user: User) -> int:
    return len(user.call("GET", "/cards").data["cards"])


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "invalid_request"),
        (401, "unauthorized"),
        (404, "not_found"),
        (409, "invalid_state"),
        (418, "rejected"),
        (429, "rate_limited"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_status_fault_uses_the_envelope_and_has_no_effect(user: User, status: int, code: str) -> None:
    arm(user, kind="status", path="/cards", method="POST", status=status, retryAfter=7)
    response = new_card(user)
    assert (response.status_code, response.headers["retry-after"]) == (status, "7")
    assert contract().error_violations(response.json()) == []
    assert response.json()["errors"][0]["code"] == code
    assert cards(user) == 0


def test_status_fault_may_carry_any_code_without_retry_after(user: User) -> None:
    arm(user, kind="status", path="/deposits", status=409, code="missing_contract")
    response = get(user, "/deposits")
    assert response.json()["errors"][0]["code"] == "missing_contract"
    assert "retry-after" not in response.headers


def test_fault_fires_the_given_number_of_times_and_is_listed_until_then(user: User) -> None:
    arm(user, kind="status", path="/cards", status=500, calls=2)
    assert user.caller.control("/faults")["faults"][0]["calls"] == 2
    assert get(user).status_code == 500
    assert user.caller.control("")["faults"][0]["calls"] == 1
    assert get(user).status_code == 500
    assert user.caller.control("/faults")["faults"] == []
    assert get(user).status_code == 200


def test_fault_affects_only_its_method_and_path(user: User) -> None:
    arm(user, kind="status", path="/cards", method="GET", exact=True, status=500)
    assert get(user, "/cards/unknown-card").status_code == 404
    assert get(user, "/balances").status_code == 200
    assert new_card(user).status_code == 200
    assert get(user).status_code == 500
    arm(user, kind="status", path="/cards", status=503)
    assert get(user, "/cards/unknown-card").status_code == 503
    assert get(user).status_code == 200


def test_fault_of_a_path_parameter_affects_any_id_and_nothing_else(user: User) -> None:
    one, other = user.new_card(), user.new_card()
    arm(user, kind="status", path="/cards/{cardId}", status=503, calls=3)
    assert get(user).status_code == 200
    user.call("POST", "/cards/secrets/session")
    assert [get(user, f"/cards/{card_id}").status_code for card_id in (one, other, "unknown-card")] == [503] * 3
    arm(user, kind="status", path=f"/cards/{one}", status=502)
    assert [get(user, f"/cards/{card_id}").status_code for card_id in (other, one)] == [200, 502]
    arm(user, kind="status", path="/cards/{cardId}/secrets", status=500)
    assert get(user, f"/cards/{one}").status_code == 200
    secrets = user.caller.raw(
        "POST", f"/partner/v1/cards/{one}/secrets", json={}, headers={"Authorization": f"Bearer {user.token}"}
    )
    assert secrets.status_code == 500


@pytest.mark.parametrize("name", ["%23", "%3F", "a%23b", "%20"])
def test_fault_matches_an_id_of_any_characters(user: User, name: str) -> None:
    arm(user, kind="status", path="/cards/{cardId}", status=503)
    assert get(user, f"/cards/{name}").status_code == 503


@pytest.mark.parametrize(
    ("order", "field", "named"),
    [
        ({"path": "/card"}, "path", "/cards"),
        ({"path": "/cards/{id}"}, "path", "/cards/{cardId}"),
        ({"path": "/cards/my-card"}, "path", "/cards/{cardId}"),
        ({"path": "/cards/{cardId}/secret"}, "path", "/cards/{cardId}/secrets"),
        ({"path": "/{cardId}"}, "path", "/cards/{cardId}"),
        ({"path": "/deposit/range"}, "path", "/deposits/range"),
        ({"path": "/partner/v1/balances"}, "path", "/balances"),
        ({"path": "/kyc", "exact": True}, "path", "/kyc/status"),
        ({"path": "/cards/{cardId}/secrets", "method": "GET"}, "method", "POST"),
        ({"path": "/withdrawals", "method": "DELETE"}, "method", "GET, POST"),
    ],
)
def test_unreachable_fault_is_rejected_with_similar_paths(
    own_sandbox: SandboxClient, order: dict[str, Any], field: str, named: str
) -> None:
    response = own_sandbox.raw("POST", "/control/faults", json={"kind": "drop"} | order)
    (error,) = response.json()["errors"]
    assert (response.status_code, error["field"]) == (400, field)
    assert named in error["message"].partition(": ")[2]
    assert own_sandbox.control("/faults")["faults"] == []


@pytest.mark.parametrize("path", ["/", "/kyc", *sorted({operation.template for operation in contract().operations})])
def test_every_documented_path_and_prefix_can_be_armed(user: User, path: str) -> None:
    arm(user, kind="drop", path=path)
    assert [fault["path"] for fault in user.caller.control("/faults")["faults"]] == [path]


def test_oldest_fault_of_a_path_fires_first(user: User) -> None:
    arm(user, kind="status", path="/cards", status=500)
    arm(user, kind="status", path="/", status=503)
    assert [get(user).status_code for _ in range(3)] == [500, 503, 200]


def test_delay_fault_delays_the_response(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(fault_responses, "anyio", SimpleNamespace(sleep=sleep))
    arm(user, kind="delay", path="/cards", delaySeconds=7)
    assert new_card(user).status_code == 200
    assert pauses == [7]
    assert cards(user) == 1


@pytest.mark.parametrize(("kind", "made"), [("drop", 0), ("after", 1), ("half_body", 1)])
def test_connection_fault_loses_the_response_and_maybe_the_effect(user: User, kind: str, made: int) -> None:
    arm(user, kind=kind, path="/cards", method="POST")
    with pytest.raises(httpx.RemoteProtocolError):
        new_card(user)
    assert cards(user) == made


def test_truncated_body_is_the_first_half_of_the_response(user: User) -> None:
    whole = get(user).content
    arm(user, kind="half_body", path="/cards")
    url, headers = user.caller.sandbox.base_url + "/cards", {"Authorization": f"Bearer {user.token}"}
    received = b""
    with (
        pytest.raises(httpx.RemoteProtocolError),
        httpx.stream("GET", url, headers=headers, trust_env=False) as response,
    ):
        assert (response.status_code, int(response.headers["content-length"])) == (200, len(whole))
        for chunk in response.iter_bytes():
            received += chunk
    assert received == whole[: len(whole) // 2]


def test_html_fault_returns_200_and_has_no_effect(user: User) -> None:
    arm(user, kind="html", path="/cards", method="POST")
    response = new_card(user)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert response.text.startswith("<!doctype html>")
    assert cards(user) == 0


def test_wrong_type_fault_breaks_the_contract_in_every_value(user: User) -> None:
    user.new_card()
    arm(user, kind="wrong_types", path="/cards")
    body = get(user).json()
    assert body["ok"] is True
    assert contract().response_violations("GET", "/cards", 200, body) != []
    (card,) = body["data"]["cards"]["0"]
    assert isinstance(card["cardId"], int)


@pytest.mark.parametrize(
    ("step", "data"),
    [
        ({"op": "replace", "path": "/data/cards/0/last4", "value": ""}, {"cards": [{"last4": ""}]}),
        ({"op": "add", "path": "/data/cards/0/new", "value": {"a": [1]}}, {"cards": [{"new": {"a": [1]}}]}),
        ({"op": "remove", "path": "/data/cards/0/cardId"}, {"cards": [{"cardId": None}]}),
        ({"op": "remove", "path": "/data/cards/0"}, {"cards": []}),
        ({"op": "add", "path": "/data/cards/-", "value": None}, {"cards": [{}, None]}),
        ({"op": "add", "path": "/data/cards/0", "value": 7}, {"cards": [7, {}]}),
        ({"op": "replace", "path": "/data/cards", "value": "none"}, {"cards": "none"}),
        ({"op": "add", "path": "/data/a~1b~0c", "value": 1}, {"a/b~c": 1}),
        ({"op": "replace", "path": "/data/no/such/place", "value": 1}, {"cards": [{}]}),
    ],
    ids=lambda value: value.get("path", ""),
)
def test_patch_fault_changes_only_the_named_place(user: User, step: dict[str, Any], data: dict[str, Any]) -> None:
    user.new_card()
    before = get(user).json()["data"]
    arm(user, kind="patch", path="/cards", patch=[step])
    after = get(user).json()["data"]
    for name, expected in data.items():
        if not isinstance(expected, list):
            assert after[name] == expected
            continue
        assert len(after[name]) == len(expected)
        for found, wanted in zip(after[name], expected, strict=True):
            if isinstance(wanted, dict):
                merged = {key: value for key, value in (before["cards"][0] | wanted).items() if value is not None}
                assert {key: value for key, value in found.items() if value is not None} == merged
            else:
                assert found == wanted
    assert get(user).json()["data"] == before


def test_patch_fault_takes_effect_and_can_write_any_number(user: User) -> None:
    steps = [{"op": "replace", "path": "/data/expirationYear", "raw": "1e400"}]
    arm(
        user, kind="patch", path="/cards", method="POST", patch=[*steps, {"op": "add", "path": "/data/x", "raw": "NaN"}]
    )
    text = new_card(user).text
    assert '"expirationYear":1e400,' in text
    assert text.count('"x":NaN') == 1
    assert cards(user) == 1


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({}, "kind"),
        ({"kind": "other", "path": "/cards"}, "kind"),
        ({"kind": "drop"}, "path"),
        ({"kind": "drop", "path": "cards"}, "path"),
        ({"kind": "status", "path": "/cards"}, "status"),
        ({"kind": "status", "path": "/cards", "status": 200}, "status"),
        ({"kind": "status", "path": "/cards", "status": 600}, "status"),
        ({"kind": "delay", "path": "/cards"}, "delaySeconds"),
        ({"kind": "delay", "path": "/cards", "delaySeconds": 121}, "delaySeconds"),
        ({"kind": "drop", "path": "/cards", "calls": 0}, "calls"),
        ({"kind": "drop", "path": "/cards", "method": "PUT"}, "method"),
        ({"kind": "drop", "path": "/cards", "exact": "yes"}, "exact"),
        ({"kind": "patch", "path": "/cards"}, "patch"),
        ({"kind": "patch", "path": "/cards", "patch": {}}, "patch"),
        ({"kind": "patch", "path": "/cards", "patch": []}, "patch"),
        ({"kind": "patch", "path": "/cards", "patch": [{"op": "move", "path": "/a"}]}, "patch"),
        ({"kind": "patch", "path": "/cards", "patch": [{"op": "remove", "path": "a"}]}, "patch"),
        ({"kind": "patch", "path": "/cards", "patch": [{"op": "add", "path": "/a"}]}, "patch"),
        ({"kind": "patch", "path": "/cards", "patch": [{"op": "add", "path": "/a", "raw": ""}]}, "patch"),
    ],
)
def test_invalid_fault_is_rejected_by_field(own_sandbox: SandboxClient, order: dict[str, Any], field: str) -> None:
    response = own_sandbox.raw("POST", "/control/faults", json=order)
    assert (response.status_code, response.json()["errors"][0].get("field")) == (400, field)


def test_fault_never_affects_the_control_api(user: User) -> None:
    arm(user, kind="status", path="/", status=500, calls=5)
    assert len(user.caller.control("/faults")["faults"]) == 1


def test_reset_disarms_every_fault(user: User) -> None:
    for kind in KINDS:
        arm(user, kind=kind, path="/cards", status=500, delaySeconds=1, patch=[{"op": "remove", "path": "/data"}])
    user.caller.control("/rate", {"calls": 1})
    user.caller.control("/provisioning", {"slow": True})
    user.caller.control("/keys", {"honoured": False})
    user.caller.control("/salts", {"form": "bytes"})
    user.caller.control("/texts", {"place": "asset", "text": "other"})
    user.caller.control("/reset", {})
    shown = user.caller.control("")
    assert (shown["faults"], shown["rateLimit"], shown["slowProvisioning"]) == ([], None, False)
    assert (shown["keysHonoured"], shown["saltForm"], shown["texts"]) == (True, "base64", {})
    user.caller.ready_user()
