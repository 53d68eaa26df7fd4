from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from machines_mcp.partner import PartnerClient
from machines_mcp.partner.probe import EndpointResult, Probe
from machines_mcp.partner.request import Request
from machines_mcp.partner.schema_diff import Differences
from machines_mcp.redaction.secret import Secret
from tests.contract.judge import contract
from tests.partner.test_resources import USER, example
from tests.support.fitted_responses import fitted
from tests.support.partner_upstream import PARTNER_KEY, Answer, ScriptedUpstream, good, hang_up, http, refusal
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

READS = {
    "POST /sessions": "createSession",
    "GET /kyc/values": "getKycValues",
    "GET /kyc/status": "getKycStatus",
    "GET /agreements": "getAgreements",
    "GET /balances": "getBalances",
    "GET /deposits/assets": "listDepositAssets",
    "POST /deposits/range": "getDepositRange",
    "POST /deposits/estimate": "estimateDeposit",
    "GET /deposits": "listDeposits",
    "GET /deposits/{depositId}": "getDeposit",
    "GET /withdrawals/assets": "listWithdrawalAssets",
    "POST /withdrawals/range": "getWithdrawalRange",
    "POST /withdrawals/estimate": "estimateWithdrawal",
    "GET /cards": "listCards",
    "GET /cards/{cardId}": "getCard",
    "GET /transactions": "listTransactions",
    "GET /encryption/data-key": "getDataKey",
}
DEPOSIT_ID = example("listDeposits")["body"]["data"]["deposits"][0]["id"]
CARD_ID = example("listCards")["body"]["data"]["cards"][0]["cardId"]


def script(api: ScriptedUpstream, endpoint: str, *answers: Answer) -> None:
    method, path = endpoint.split(" ")
    api.on(method, path.replace("{depositId}", DEPOSIT_ID).replace("{cardId}", CARD_ID), *answers)


def script_success(api: ScriptedUpstream) -> None:
    """Script every read to respond as in the contract's example, with what the probe requested."""
    for endpoint, operation in READS.items():
        if endpoint != "POST /sessions":
            script(api, endpoint, fitting(api, endpoint, example(operation)["body"]))


def fitting(api: ScriptedUpstream, endpoint: str, body: dict[str, Any]) -> Answer:
    async def answer(stream: ByteStream) -> None:
        method, path = endpoint.split(" ")
        seen, ids = api.seen[-1], {"depositId": DEPOSIT_ID, "cardId": CARD_ID}
        data = fitted(Request(method, path, query=seen.query, body=seen.body, ids=ids), body["data"])
        await http(200, json.dumps(body | {"data": data}).encode())(stream)

    return answer


async def probed(api: ScriptedUpstream) -> dict[str, EndpointResult]:
    probe = Probe()
    async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE, on_answer=probe.record) as client:
        with anyio.fail_after(PATIENCE):
            rows = await probe.run(client, USER)
    assert "canary" not in repr(rows)
    return {row.endpoint: row for row in rows}


def changed(operation: str, change: Callable[[Any], object]) -> Answer:
    data = copy.deepcopy(example(operation)["body"]["data"])
    change(data)
    return good(data)


async def test_probe_sends_every_read_and_nothing_else(api: ScriptedUpstream) -> None:
    script_success(api)
    rows = await probed(api)
    assert list(rows) == list(READS)
    assert [row for row in rows.values() if not row.ok or row.status != 200 or row.differences != Differences()] == []
    reads = {(op.method, op.template) for op in contract().operations if op.operation_id in READS.values()}
    assert {(method, path) for method, path in (endpoint.split(" ") for endpoint in rows)} == reads
    assert {op.template for op in contract().operations if op.method == "GET"} == {
        endpoint.removeprefix("GET ") for endpoint in rows if endpoint.startswith("GET ")
    }
    assert [set(mint.body["scopes"]) for mint in api.mints] == [
        {"kyc.read", "cards.read", "encryption.read", "deposits.read", "transactions.read"}
    ]


@pytest.mark.parametrize(
    ("endpoint", "change", "found"),
    [
        ("GET /kyc/status", lambda d: d.pop("status"), Differences(missing=("status",))),
        ("GET /kyc/status", lambda d: d.update(status=["canary"]), Differences(mistyped=("status",))),
        ("GET /balances", lambda d: d["balances"].pop("creditLimit"), Differences(missing=("balances.creditLimit",))),
        ("GET /balances", lambda d: d["balances"].update(creditLimit="1 canary"),
         Differences(mistyped=("balances.creditLimit",))),
        ("POST /deposits/range", lambda d: d.update(range=None), Differences(mistyped=("range",))),
        ("POST /withdrawals/estimate", lambda d: d["estimate"].pop("toNetwork"),
         Differences(missing=("estimate.toNetwork",))),
        ("GET /deposits/{depositId}", lambda d: d["deposit"].update(status=7),
         Differences(mistyped=("deposit.status",))),
        ("GET /cards", lambda d: d["cards"][-1].pop("last4"), Differences(missing=("cards[].last4",))),
        ("GET /cards/{cardId}", lambda d: d.update(last4=7), Differences(mistyped=("last4",))),
        ("GET /transactions", lambda d: d["transactions"][0].update(amountCents=1.5),
         Differences(mistyped=("transactions[].amountCents",))),
    ],
)  # fmt: skip
async def test_missing_or_mistyped_field_is_named_and_fails(
    api: ScriptedUpstream, endpoint: str, change: Callable[[Any], object], found: Differences
) -> None:
    script_success(api)
    script(api, endpoint, changed(READS[endpoint], change))
    rows = await probed(api)
    assert (rows[endpoint].differences, rows[endpoint].status, rows[endpoint].ok) == (found, 200, False)
    assert list(rows) == list(READS)


async def test_unknown_field_is_named_and_does_not_fail(api: ScriptedUpstream) -> None:
    script_success(api)
    script(api, "GET /cards", changed("listCards", lambda d: d["cards"][0].update({"design": "canary", "4-canary": 1})))
    rows = await probed(api)
    assert rows["GET /cards"].differences == Differences(extra=("cards[].design", "cards[].?"))
    assert all(row.ok for row in rows.values())


async def test_user_without_kyc_gets_only_the_kyc_and_balance_probes(api: ScriptedUpstream) -> None:
    script_success(api)
    script(api, "POST /sessions", refusal(409, "kyc_required"), api.mint())
    script(api, "GET /agreements", refusal(409, "kyc_required"))
    rows = await probed(api)
    assert list(rows) == list(READS)
    assert [endpoint for endpoint, row in rows.items() if row.status == 200] == [
        "POST /sessions",
        "GET /kyc/values",
        "GET /kyc/status",
        "GET /balances",
    ]
    assert (rows["GET /agreements"].status, rows["GET /agreements"].note) == (409, "kyc_required")
    assert rows["GET /cards"].note == "skipped: the user's KYC is not approved"
    assert all(row.ok for row in rows.values())


@pytest.mark.parametrize(
    ("answer", "status", "note", "ok"),
    [
        (refusal(404, "canary_code"), 404, "not_found", True),
        (refusal(403), 403, "forbidden", True),
        (refusal(409), 409, "conflict", True),
        (refusal(400, "canary_code", field="canary"), 400, "invalid_request", False),
        (refusal(500), 500, "server_error", False),
        (refusal(418), 418, "rejected", False),
        (http(302, b""), 302, "redirected", False),
        (http(200, b"[]"), 200, "malformed", False),
        (good(["canary"]), 200, "malformed", False),
    ],
)
async def test_response_without_data_shows_its_code(
    api: ScriptedUpstream, answer: Answer, status: int, note: str, ok: bool
) -> None:
    script_success(api)
    script(api, "GET /transactions", answer)
    row = (await probed(api))["GET /transactions"]
    assert (row.status, row.note, row.ok, row.differences) == (status, note, ok, Differences())


async def test_rejected_key_is_the_only_finding(api: ScriptedUpstream) -> None:
    script(api, "POST /sessions", refusal(401))
    assert list((await probed(api)).values()) == [
        EndpointResult("POST /sessions", 401, note="unauthorized", failed=True),
    ]


async def test_reads_without_an_id_are_skipped(api: ScriptedUpstream) -> None:
    script_success(api)
    empty = {"GET /deposits/assets": "assets", "GET /deposits": "deposits", "GET /cards": "cards"}
    for endpoint, name in empty.items():
        script(api, endpoint, good({name: []}))
    script(api, "GET /withdrawals/assets", good({"assets": [{"ticker": "a b", "networks": [{"id": "/../"}]}]}))
    rows = await probed(api)
    assert [endpoint for endpoint, row in rows.items() if row.status is None] == [
        "POST /deposits/range",
        "POST /deposits/estimate",
        "GET /deposits/{depositId}",
        "POST /withdrawals/range",
        "POST /withdrawals/estimate",
        "GET /cards/{cardId}",
    ]
    assert [endpoint for endpoint, row in rows.items() if not row.ok] == ["GET /withdrawals/assets"]
    assert rows["GET /withdrawals/assets"].differences.mistyped == ("assets[].ticker", "assets[].networks[].id")


async def test_probe_stops_when_the_api_stops_responding(api: ScriptedUpstream) -> None:
    script_success(api)
    script(api, "GET /deposits/assets", hang_up)
    rows = await probed(api)
    assert (rows["GET /deposits/assets"].note, rows["GET /deposits/assets"].ok) == ("connection_lost", False)
    assert api.seen[-1].path == "/deposits/assets"
    assert list(rows) == list(READS)
