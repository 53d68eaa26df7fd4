from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml

from machines_mcp.partner import PartnerClient, errors
from machines_mcp.partner.field_names import FIELD_NAMES
from machines_mcp.partner.trace import UNNAMED, shape
from machines_mcp.redaction.secret import Secret
from tests.contract.judge import contract
from tests.partner.test_resources import CARD_ID, ENDPOINTS, USER, example
from tests.support.partner_upstream import PARTNER_KEY, ScriptedUpstream, hang_up, http, refusal
from tests.support.waiting import PATIENCE

CANARY = "canary"
NUMBER = 9_412_377
CONTRACT = Path(__file__).parent.parent / "contract" / "partner-openapi.yaml"

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX file modes")


def with_canaries(value: Any) -> Any:
    """Replace every value with a canary and add a field to every object whose name is a canary."""
    if isinstance(value, dict):
        names = {f"{CANARY}-{NUMBER}": CANARY, f"{NUMBER}{CANARY}": [CANARY], CANARY * 7: {CANARY * 8: 1}, "ü": NUMBER}
        return {name: with_canaries(member) for name, member in value.items()} | names
    if isinstance(value, list):
        return [with_canaries(member) for member in value]
    if isinstance(value, str):
        return f"{CANARY} {value}"
    return value if isinstance(value, bool) or value is None else NUMBER + 0.5


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.anyio
async def test_trace_of_every_call_to_a_hostile_api_contains_no_value(api: ScriptedUpstream, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    for operation in contract().operations:
        target = operation.template.replace("{depositId}", "deposit-0001").replace("{cardId}", CARD_ID)
        response = example(operation.operation_id)
        if target != "/sessions":
            body = with_canaries(response["body"]) | {"ok": True}
            headers = {"X-Canary": CANARY, "Set-Cookie": f"a={CANARY}"}
            api.on(operation.method, target, http(response["status"], json.dumps(body).encode(), headers))
    async with PartnerClient(
        api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE, card_secrets=True, trace=str(path)
    ) as client:
        for endpoint in ENDPOINTS:
            with anyio.fail_after(PATIENCE):
                try:
                    await endpoint.call(client)
                except errors.PartnerError as error:
                    assert error.code in ("malformed", "mismatch")
    text = path.read_text(encoding="utf-8")
    sent = [
        PARTNER_KEY,
        "signature-canary",
        USER,
        CARD_ID,
        "deposit-0001",
        "request-0001",
        "cursor-0001",
        "Ada",
        "us d",
    ]
    seen = [value for request in api.seen for value in request.headers.values() if len(value) > 8]
    assert [
        value for value in [CANARY, str(NUMBER), *sent, *seen] if value in text.replace("application/json", "")
    ] == []
    assert {(line["method"], line["path"]) for line in lines(path)} == {
        (operation.method, operation.template) for operation in contract().operations
    }
    card = next(line for line in lines(path) if (line["method"], line["path"]) == ("GET", "/cards/{cardId}"))
    assert card["response"]["data"]["limit"] == {"amountCents": "number", "frequency": "string", UNNAMED: "string"}


@pytest.mark.anyio
async def test_line_describes_the_request_and_the_response(api: ScriptedUpstream, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    api.on("GET", "/cards", http(200, json.dumps(example("listCards.empty")["body"]).encode()))
    async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE, trace=str(path)) as client:
        await client.cards.list(USER, limit=5)
    mint, cards = lines(path)
    assert list(cards) == ["method", "path", "status", "ms", "query", "request", "response"]
    assert (mint["path"], mint["request"]) == (
        "/sessions",
        {"userId": "string", "scopes": ["string"], "ttlSeconds": "integer"},
    )
    assert (cards["status"], cards["query"], cards["request"]) == (200, {"limit": "string"}, None)
    assert cards["response"]["data"]["cards"] == []
    assert 0 <= cards["ms"] < 5000


@pytest.mark.anyio
async def test_failures_are_traced(api: ScriptedUpstream, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    api.on("GET", "/balances", refusal(404), http(200, b"not JSON, " + CANARY.encode()), hang_up)
    async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE, trace=str(path)) as client:
        for kind in (errors.NotFound, errors.Malformed, errors.ConnectionLost):
            with pytest.raises(kind):
                await client.balances.get(USER)
    # A read is retried when its connection breaks.
    refused, unreadable, lost, *again = lines(path)[1:]
    assert (refused["status"], refused["response"]["errors"]) == (404, [{"code": "string", "message": "string"}])
    assert (unreadable["status"], unreadable["response"]) == (200, None)
    assert again
    assert {(line["status"], line["response"]) for line in (lost, *again)} == {(None, None)}


@posix_only
@pytest.mark.anyio
async def test_file_is_private_and_appended_to(api: ScriptedUpstream, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    for _ in range(2):
        async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE, trace=str(path)) as client:
            await client.sessions.open(USER, ["kyc.read"])
    assert len(lines(path)) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/nowhere/at/all", "/", "\0"])
async def test_unwritable_trace_fails_no_call(api: ScriptedUpstream, path: str) -> None:
    async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE, trace=path) as client:
        assert (await client.sessions.open(USER, ["kyc.read"])).user_id == USER


def test_list_has_every_name_of_the_contract_and_no_other() -> None:
    names: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            names.update(value["properties"] if isinstance(value.get("properties"), dict) else ())
            names.update([value["name"]] if value.get("in") in ("query", "path") else ())
            value = list(value.values())
        for member in value if isinstance(value, list) else ():
            collect(member)

    collect(yaml.safe_load(CONTRACT.read_text(encoding="utf-8")))
    assert sorted(names) == sorted(FIELD_NAMES)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"limit": 1, "amount": 1.0, "accepted": True, "next": None, "text": "x"},
            ["integer", "number", "boolean", "null", "string"],
        ),
        ({"cards": [{"id": [1, "x"]}, "y"], "fields": []}, [[{"id": ["integer"]}], []]),
    ],
)
def test_shape_has_types_and_the_first_list_item(value: dict[str, Any], expected: list[Any]) -> None:
    assert list(shape(value).values()) == expected


@pytest.mark.parametrize(
    "name", ["1a", "é", "", "a" * 41, "4111", "aB3dE5fG", "card4111", "lovelace", "Status", "status ", "pan", "mst"]
)
def test_name_outside_the_list_is_hidden(name: str) -> None:
    assert shape({name: 1, "status": {name: 2}}) == {UNNAMED: "integer", "status": {UNNAMED: "integer"}}


def test_shape_is_limited_in_size() -> None:
    def size(value: Any) -> int:
        members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return 1 + sum(size(member) for member in members)

    names = sorted(FIELD_NAMES)[:30]
    deep = {one: {two: dict.fromkeys(names, 1) for two in names} for one in names}
    assert size(deep) > 5000
    assert size(shape(deep)) == 5001
