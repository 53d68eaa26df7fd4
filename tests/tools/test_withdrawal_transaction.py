"""The transaction of a signed withdrawal: prepared, handed out in two steps, and confirmed. No chain is asked here."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from machines_mcp.chain import extras
from tests.support.tool_caller import ToolCaller, caller
from tests.support.waiting import PATIENCE
from tests.support.wallets import sign_typed_data, wallet
from tests.tools.test_freeze import freeze, lift
from tests.tools.test_withdrawals import SOLANA, funded, link_solana

pytestmark = pytest.mark.anyio

ADMIN, STRANGER = wallet(75), wallet(92)
TERMS = {"amount_cents": 2500, "currency": "rusd", "network": "base", "address": "0x" + "ef" * 20}
HASH = "0x" + "ab" * 32
PAST = (
    "UPDATE withdrawals SET execution = json_set(execution, '$.parameters[4]', 1700000000,"
    " '$.signature.parameters[4]', 1700000000, '$.expires_at', 1700000000)"
)


async def ready(c: ToolCaller, **terms: Any) -> str:
    """Return the id of a ready withdrawal whose wallet is `ADMIN`."""
    await funded(c)
    quote = await c.call("quote_withdrawal", **{"admin_address": ADMIN.address} | TERMS | terms)
    made = await c.call("create_withdrawal", quote_id=quote["quote_id"])
    assert made["next_steps"][0]["tool"] == "get_withdrawal_transaction", made
    return str(made["withdrawal_id"])


def sign(typed_data: dict[str, Any], by: Any = ADMIN) -> str:
    return "0x" + sign_typed_data(by, typed_data)[0].hex()


async def test_typed_data_is_signed_and_becomes_a_transaction(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        known = {"withdrawal_id": await ready(c)}
        first = await c.call("get_withdrawal_transaction", **known, admin_nonce="0")
        assert (first["stage"], first["from"]) == ("sign", ADMIN.address)
        assert first["typed_data"]["domain"]["chainId"] == 84532
        assert re.fullmatch("[0-9]+", first["typed_data"]["message"]["amount"])
        assert await c.call("get_withdrawal_transaction", **known) | {"seconds_left": 0} == first | {"seconds_left": 0}
        signature = sign(first["typed_data"])
        sending = await c.call("get_withdrawal_transaction", **known, admin_signature=signature)
        assert sending["stage"] == "send"
        assert set(sending["transaction"]) == {"from", "to", "data", "value", "chainId"}
        assert sending["transaction"]["value"] == "0x0"
        assert len(sending["transaction"]["data"]) == 2 + 2 * 708
        assert signature[2:] in sending["transaction"]["data"]
        # The signature is kept, so that the person's page and a later call need no new one.
        again = await c.call("get_withdrawal_transaction", **known)
        assert again["transaction"] == sending["transaction"]


async def test_status_and_the_list_follow_the_transaction(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        known = {"withdrawal_id": await ready(c)}
        waits = (await c.call("status"))["withdrawals"]
        assert [(each["withdrawal_id"], each["waits_for"]) for each in waits] == [(known["withdrawal_id"], "wallet")]
        assert 1700 < waits[0]["seconds_left"] <= 1800
        summary = (await c.client.call_tool("status", {})).content[1]
        assert "wait for a wallet or a receipt: 1." in getattr(summary, "text", "")
        sent = await c.call("confirm_withdrawal", **known, transaction_hash=HASH)
        assert (sent["stage"], sent["verified"]) == ("sent", False)
        assert "not verified" in sent["note"]
        # Without a node, confirming again would find nothing new.
        assert [step["tool"] for step in sent["next_steps"]] == ["get_balances"]
        assert [each["waits_for"] for each in (await c.call("status"))["withdrawals"]] == ["receipt"]
        assert [row["status"] for row in (await c.call("list_withdrawals"))["withdrawals"]] == ["sent"]
        found = await c.call("get_withdrawal_transaction", **known)
        assert (found["stage"], found["transaction_hash"]) == ("sent", HASH)


@pytest.mark.parametrize(
    ("signature", "recovers"),
    [
        (lambda data: sign(data, STRANGER), True),
        (lambda data: sign(data | {"message": data["message"] | {"amount": "1"}}), True),
        (lambda data: "0x" + "11" * 64, False),
        (lambda data: "0x" + "ff" * 65, False),
    ],
    ids=["another key", "a miscopied document", "64 bytes", "not of the curve"],
)
async def test_wrong_signature_names_who_must_sign(tmp_path: Path, signature: Any, recovers: bool) -> None:
    async with caller(tmp_path) as c:
        known = {"withdrawal_id": await ready(c)}
        data = (await c.call("get_withdrawal_transaction", **known, admin_nonce="0"))["typed_data"]
        error = await c.call("get_withdrawal_transaction", **known, admin_signature=signature(data))
        assert (error["code"], error["signer"]) == ("signature.wrong", ADMIN.address)
        assert ("recovered" in error) == recovers
        assert error.get("recovered") != ADMIN.address
        assert "unchanged" in error["message"] and ("(recovered)" in error["message"]) == recovers


@pytest.mark.parametrize(("v", "low"), [(0, True), (27, False), (0, False)])
async def test_signature_is_made_canonical(tmp_path: Path, v: int, low: bool) -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    async with caller(tmp_path) as c:
        known = {"withdrawal_id": await ready(c)}
        data = (await c.call("get_withdrawal_transaction", **known, admin_nonce="0"))["typed_data"]
        plain = bytes.fromhex(sign(data)[2:])
        s, parity = int.from_bytes(plain[32:64]), plain[64] - 27
        if not low:
            s, parity = order - s, 1 - parity
        other = plain[:32] + s.to_bytes(32) + bytes([parity + (27 if v else 0)])
        sending = await c.call("get_withdrawal_transaction", **known, admin_signature="0x" + other.hex())
        assert plain.hex() in sending["transaction"]["data"]


async def test_while_frozen_no_transaction_is_given(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        known = {"withdrawal_id": await ready(c)}
        signing = await c.call("get_withdrawal_transaction", **known, admin_nonce="0")
        await freeze(c, "tool-user")
        assert (await c.call("get_withdrawal_transaction", **known))["code"] == "policy.frozen"
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
            page = (await http.get(signing["sign_at"], headers={"Sec-Fetch-Site": "none"})).text
        assert "Changes are frozen, so no transaction is given." in page
        assert signing["typed_data"]["domain"]["salt"] not in page
        await lift(c, "tool-user")
        assert (await c.call("get_withdrawal_transaction", **known))["typed_data"] == signing["typed_data"]


async def test_controller_needs_no_signature(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        terms = {"currency": "usdc", "network": "ethereum", "source_chain_id": 11155111}
        known = {"withdrawal_id": await ready(c, **terms)}
        found = await c.call("get_withdrawal_transaction", **known)
        assert (found["stage"], found["call"]["path"]) == ("send", "controller_v1")
        assert found["transaction"]["chainId"] == hex(11155111)
        error = await c.call("get_withdrawal_transaction", **known, admin_signature="0x" + "11" * 65)
        assert [fault["field"] for fault in error["fields"]] == ["admin_signature"]


async def test_solana_without_a_node_names_the_setting(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        await link_solana(c)
        terms = {"currency": "rusd", "network": "solana", "address": SOLANA, "amount_cents": 500}
        quote = await c.call("quote_withdrawal", **terms, source_chain_id=901)
        made = await c.call("create_withdrawal", quote_id=quote["quote_id"])
        error = await c.call("get_withdrawal_transaction", withdrawal_id=made["withdrawal_id"])
        assert (error["code"], error["setting"]) == ("chain.unavailable", "MACHINES_RPC_URL_901")
        wrong = await c.call("confirm_withdrawal", withdrawal_id=made["withdrawal_id"], transaction_hash=HASH)
        assert [fault["field"] for fault in wrong["fields"]] == ["transaction_hash"]


async def test_no_nonce_names_the_argument_and_the_setting(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        error = await c.call("get_withdrawal_transaction", withdrawal_id=await ready(c))
        assert (error["check"], error["setting"]) == ("nonce", "MACHINES_RPC_URL_84532")
        assert "admin_nonce" in error["message"]


async def test_a_nonce_of_more_than_256_bits_is_refused(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        known = {"withdrawal_id": await ready(c)}
        error = await c.call("get_withdrawal_transaction", **known, admin_nonce=str(2**256))
        assert [fault["field"] for fault in error["fields"]] == ["admin_nonce"]
        last = await c.call("get_withdrawal_transaction", **known, admin_nonce=str(2**256 - 1))
        assert last["typed_data"]["message"]["nonce"] == str(2**256 - 1)


async def test_unknown_and_foreign_ids_are_not_found(tmp_path: Path) -> None:
    async with caller(tmp_path, user_id=None) as c:
        for tool, more in (
            ("get_withdrawal_transaction", {}),
            ("confirm_withdrawal", {"transaction_hash": HASH}),
        ):
            await c.call("create_session", user_id="ann", purpose="kyc")
            error = await c.call(tool, user_id="ann", withdrawal_id="wd_" + "0" * 32, **more)
            assert error["code"] == "not_found"


async def test_pending_withdrawal_leads_back_to_its_request(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        quote = await c.call("quote_withdrawal", **TERMS)
        pending = {"op": "replace", "path": "/data/status", "value": "pending"}
        none = [{"op": "replace", "path": f"/data/{name}", "value": None} for name in ("parameters", "signature")]
        later = {"op": "replace", "path": "/data/retryAfterSeconds", "value": 90}
        patch = [pending, *none, later]
        await c.control("/faults", kind="patch", path="/withdrawals", method="POST", exact=True, patch=patch, calls=1)
        waits = await c.call("create_withdrawal", quote_id=quote["quote_id"])
        assert waits["code"] == "outcome.unknown", waits
        withdrawal_id = (await c.call("list_withdrawals"))["withdrawals"][0]["withdrawal_id"]
        error = await c.call("get_withdrawal_transaction", withdrawal_id=withdrawal_id)
        assert error["code"] == "withdrawal.not_ready"
        (step,) = error["next_steps"]
        assert (step["tool"], step["arguments"]["approval_id"]) == ("create_withdrawal", waits["approval_id"])


async def test_expired_signature_gives_no_transaction(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        known = {"withdrawal_id": await ready(c)}
        with closing(sqlite3.connect(tmp_path / "embedded" / "state.db")) as db, db:
            # As it is after half an hour.
            db.execute(PAST)
            db.execute("UPDATE transactions SET expires_at = 1700000000")
        error = await c.call("get_withdrawal_transaction", **known, admin_nonce="0")
        assert error["code"] == "withdrawal.expired"
        assert [step["tool"] for step in error["next_steps"]] == ["confirm_withdrawal", "quote_withdrawal"]
        assert (await c.call("status"))["withdrawals"] == []


SALTS = ("base64", "hex", "bytes")


@pytest.mark.parametrize("form", SALTS)
async def test_every_form_of_the_salt_gives_a_transaction(tmp_path: Path, form: str) -> None:
    async with caller(tmp_path) as c:
        await c.control("/salts", form=form)
        found = await c.call("get_withdrawal_transaction", withdrawal_id=await ready(c), admin_nonce="7")
        assert found["stage"] == "sign"
        assert found["typed_data"]["message"]["nonce"] == "7"


BROKEN: list[tuple[int, Any]] = [
    (5, [17] * 31),
    (5, [256] * 32),
    (5, "not base64!"),
    (5, "0x" + "11" * 31),
    (6, "0x12"),
]


@pytest.mark.parametrize(("place", "value"), BROKEN, ids=[str(n) for n in range(len(BROKEN))])
async def test_unreadable_parameter_is_named_without_its_value(tmp_path: Path, place: int, value: Any) -> None:
    async with caller(tmp_path) as c:
        patch = [
            {"op": "replace", "path": f"{where}/{place}", "value": value}
            for where in ("/data/parameters", "/data/signature/parameters")
        ]
        await c.control("/faults", kind="patch", path="/withdrawals", method="POST", exact=True, patch=patch, calls=9)
        known = {"withdrawal_id": await ready(c)}
        error = await c.call("get_withdrawal_transaction", **known, admin_nonce="0")
        assert (error["code"], error["position"]) == ("partner.malformed", f"parameters[{place}]")
        assert str(value) not in json.dumps(error)
        assert [row["status"] for row in (await c.call("list_withdrawals"))["withdrawals"]] == ["ready"]


async def test_without_the_extras_the_tools_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    extras.plans_evm.cache_clear()
    extras.plans_solana.cache_clear()
    try:
        async with caller(tmp_path) as c:
            listed = {each.name for each in (await c.client.list_tools()).tools}
            assert not listed & {"get_withdrawal_transaction", "confirm_withdrawal"}
            error = await c.call("get_withdrawal_transaction", withdrawal_id="wd_" + "0" * 32)
            assert error["code"] == "tool.unknown"
            await funded(c)
            quote = await c.call("quote_withdrawal", **TERMS)
            made = await c.call("create_withdrawal", quote_id=quote["quote_id"])
            assert [step["tool"] for step in made["next_steps"]] == ["get_balances"]
    finally:
        extras.plans_evm.cache_clear()
        extras.plans_solana.cache_clear()
