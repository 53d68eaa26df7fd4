"""Withdrawals."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.cli.approvals import format_approval
from machines_mcp.partner import Withdrawal
from machines_mcp.partner.errors import RateLimited
from machines_mcp.partner.formats import networks
from machines_mcp.partner.resources.withdrawals import Withdrawals
from machines_mcp.redaction.display import dollars
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard
from machines_mcp.testing import decide
from tests.support.in_process import in_process_sandbox
from tests.support.interrupted import state
from tests.support.tool_caller import ToolCaller, caller

pytestmark = pytest.mark.anyio

ADDRESS = "0x" + "ef" * 20
BITCOIN = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"  # BIP 173


async def funded(c: ToolCaller, amount: int = 100) -> None:
    """Return a user with this many dollars to spend."""
    await c.approved()
    deposit = await c.call("create_deposit", currency="rusd", network="base", amount=amount)
    await c.control("/deposits", depositId=deposit["deposit_id"])


async def test_withdrawal_out_of_range_is_rejected_with_the_range(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        terms = {"currency": "rusd", "network": "base", "address": ADDRESS}
        error = await c.call("quote_withdrawal", amount_cents=1, **terms)
        assert error["code"] == "input.invalid"
        assert [f["field"] for f in error["fields"]] == ["amount_cents"]
        assert error["fields"][0]["rule"].startswith("must be at least ")


async def test_range_of_a_withdrawal_needs_neither_amount_nor_address(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        found = await c.call("quote_withdrawal", currency="rusd", network="base")
        assert found["min_amount_cents"] > 0
        assert not {"quote_id", "amount_cents", "address", "expires_at", "is_estimate"} & found.keys()
        assert [step["tool"] for step in found["next_steps"]] == ["get_balances"]
        with state(tmp_path) as db:
            assert db.execute("SELECT count(*) FROM quotes").fetchone() == (0,)


@pytest.mark.parametrize(
    ("given", "missing"), [({"amount_cents": 2500}, "address"), ({"address": ADDRESS}, "amount_cents")]
)
async def test_quote_needs_both_amount_and_address(given: dict[str, Any], missing: str, tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        error = await c.call("quote_withdrawal", currency="rusd", network="base", **given)
        assert error["code"] == "input.invalid"
        assert [field["field"] for field in error["fields"]] == [missing]


async def test_memo_for_a_network_without_memos_is_rejected(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        terms = {"amount_cents": 2500, "currency": "rusd", "network": "base", "address": ADDRESS}
        error = await c.call("quote_withdrawal", **terms, extra_id="12345")
        assert [f["field"] for f in error["fields"]] == ["extra_id"]


async def test_withdrawal_follows_its_quote_regardless_of_other_arguments(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        terms = {"amount_cents": 2500, "currency": "rusd", "network": "base", "address": ADDRESS}
        quote = await c.call("quote_withdrawal", **terms)
        for extra in ({"amount_cents": 9900}, {"address": "0x" + "00" * 20}):
            error = await c.call("create_withdrawal", quote_id=quote["quote_id"], **extra)
            assert error["code"] == "input.invalid"
        made = await c.call("create_withdrawal", quote_id=quote["quote_id"])
        assert (made["status"], made["amount_cents"]) == ("ready", 2500)
        assert (await c.call("get_balances"))["spending_power_cents"] == 75_00


SOLANA = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"


async def link_solana(c: ToolCaller) -> None:
    """Link a Solana wallet as the vendor's own client does."""
    body = {"externalUserId": "tool-user", "wallet": {"chain": "solana", "address": SOLANA}}
    async with c.sandbox.http() as http:
        headers = {"X-Partner-Key": c.sandbox.partner_key.expose()}
        (await http.post(c.sandbox.base_url + "/users/resolve", json=body, headers=headers)).raise_for_status()


@pytest.mark.parametrize(("chain", "salt"), [(None, "base64"), (84532, "hex"), (11155111, "bytes"), (901, "bytes")])
async def test_withdrawals_from_every_chain_are_ready(tmp_path: Path, chain: int | None, salt: str) -> None:
    """The simulator has contracts of both versions, and signs for a program on Solana."""
    async with caller(tmp_path) as c:
        await funded(c)
        await c.control("/salts", form=salt)
        if chain == 901:
            await link_solana(c)
        for terms in (
            {"currency": "rusd", "network": "base", "address": ADDRESS},
            {"currency": "usdc", "network": "ethereum", "address": ADDRESS},
            {"currency": "rusd", "network": "solana", "address": SOLANA},
            XRP | {"extra_id": "7"},
        ):
            quote = await c.call("quote_withdrawal", amount_cents=500, source_chain_id=chain, **terms)
            made = await c.call("create_withdrawal", quote_id=quote["quote_id"])
            assert (made.get("status"), made.get("chain_id")) == ("ready", chain or 84532), made
            await c.control("/withdrawals", userId="tool-user")


RATE_LIMITED = {
    "kind": "status",
    "path": "/withdrawals",
    "method": "POST",
    "exact": True,
    "status": 429,
    "retryAfter": 600,
}


async def test_withdrawal_that_did_not_begin_reuses_its_approval_and_quote(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        quote = await c.call("quote_withdrawal", amount_cents=2500, currency="rusd", network="base", address=ADDRESS)
        await c.control("/faults", **RATE_LIMITED)
        refused = await c.call("create_withdrawal", quote_id=quote["quote_id"])
        assert refused["code"] == "rate.limited"
        assert (await c.call("status"))["unresolved"] == []
        again = {"quote_id": quote["quote_id"], "approval_id": refused["approval_id"]}
        made = await c.call("create_withdrawal", **again)
        assert made["status"] == "ready"
        assert await c.call("create_withdrawal", **again) == made
        assert (await c.call("get_balances"))["spending_power_cents"] == 75_00


async def test_failed_poll_does_not_reject_a_withdrawal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, answers = Withdrawals.create, list[str]()

    async def create(self: Withdrawals, *args: Any, **options: Any) -> Withdrawal:
        answers.append("asked")
        if len(answers) == 2:
            raise RateLimited
        return await real(self, *args, **options)

    async with caller(tmp_path) as c:
        await funded(c)
        quote = await c.call("quote_withdrawal", amount_cents=2500, currency="rusd", network="base", address=ADDRESS)
        monkeypatch.setattr(Withdrawals, "create", create)
        made = await c.call("create_withdrawal", quote_id=quote["quote_id"])
        assert made["status"] == "ready"
        assert len(answers) == 3
        assert (await c.call("status"))["unresolved"] == []


@pytest.mark.parametrize(
    ("amount_cents", "currency", "network", "address", "arrives"),
    [
        (5_00, "btc", "bitcoin", BITCOIN, "0.000055 btc"),
        (40_000_00, "usdc", "ethereum", ADDRESS, "39,600 usdc"),
        (1_234_56, "hbar", "hbar", "0.0.1234567", "8,148.096 hbar"),
    ],
)
async def test_person_reads_amounts_as_plain_decimals(
    tmp_path: Path, amount_cents: int, currency: str, network: str, address: str, arrives: str
) -> None:
    async with in_process_sandbox() as sandbox:
        async with caller(tmp_path, sandbox=sandbox) as c:
            await funded(c, 50_000)
        async with caller(tmp_path, sandbox=sandbox, answer=None) as c:
            terms = {"currency": currency, "network": network, "address": address}
            quote = await c.call("quote_withdrawal", amount_cents=amount_cents, **terms)
            await c.call("create_withdrawal", quote_id=quote["quote_id"])
        env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path)}
        async with open_guard(read_settings(env)) as guard:
            (waiting,) = await guard.channels.waiting()
    shown = format_approval(waiting)
    assert f"about {arrives}" in [item.value for item in waiting.details.items]
    assert f"${amount_cents / 100:,.2f}" in waiting.question
    assert not re.search(r"[0-9]e-[0-9]|[0-9][.]0 |[0-9]{4}[.]", shown.replace(address, ""))


CHECKSUMMED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # EIP-55
XRP = {"currency": "xrp", "network": "ripple", "address": "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh"}


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({"address": CHECKSUMMED.replace("D", "d").replace("Aed", "AeD")}, {"address": "checksum"}),
        ({"address": "0x" + "1" * 39}, {"address": "40 hex digits"}),
        ({"address": "abcd"}, {"address": "40 hex digits"}),
        ({"address": "0x" + "0" * 40}, {"address": "zero address"}),
        ({"address": BITCOIN}, {"address": "this is one of Bitcoin"}),
        ({"currency": "btc", "network": "bitcoin"}, {"address": "this is one of an EVM network"}),
        ({"currency": "btc", "network": "bitcoin", "address": BITCOIN[:-1] + "5"}, {"address": "checksum"}),
        (XRP | {"extra_id": "my tag"}, {"extra_id": "must have visible ASCII characters only"}),
        (XRP | {"extra_id": "tag-12"}, {"extra_id": "destination tag"}),
        ({"admin_address": "0x" + "0" * 40}, {"admin_address": "zero address"}),
        ({"source_token_address": "abcd"}, {"source_token_address": "Solana"}),
        (
            XRP | {"address": "abcd", "extra_id": "x", "amount_cents": 0, "admin_address": "0x12"},
            {"address": "XRP", "extra_id": "tag", "amount_cents": "at least 1", "admin_address": "must match"},
        ),
    ],
)
async def test_what_can_be_known_to_be_wrong_is_refused_at_once(
    tmp_path: Path, changes: dict[str, Any], faults: dict[str, str]
) -> None:
    terms = {"amount_cents": 2500, "currency": "rusd", "network": "base", "address": ADDRESS} | changes
    async with caller(tmp_path) as c:
        error = await c.call("quote_withdrawal", **terms)
    found = {fault["field"]: fault["rule"] for fault in error["fields"]}
    assert found.keys() == faults.keys()
    assert all(words in found[name] for name, words in faults.items())
    assert not any(str(value) in found[name] for name, value in changes.items() if name in found)


async def test_valid_addresses_of_each_network_are_quoted(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        for terms in (
            {"currency": "rusd", "network": "base", "address": CHECKSUMMED},
            {"currency": "btc", "network": "bitcoin", "address": BITCOIN},
            {"currency": "sol", "network": "solana", "address": "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"},
            {"currency": "hbar", "network": "hbar", "address": "0.0.1234567", "extra_id": "order-12"},
            XRP | {"extra_id": "0"},
        ):
            assert (await c.call("quote_withdrawal", amount_cents=2500, **terms))["address"] == terms["address"]


async def test_nobody_is_asked_for_more_than_the_balance(tmp_path: Path) -> None:
    async with in_process_sandbox() as sandbox:
        async with caller(tmp_path, sandbox=sandbox) as c:
            await funded(c, 225)
        async with caller(tmp_path, sandbox=sandbox, answer=None) as c:
            terms = {"currency": "rusd", "network": "base", "address": ADDRESS}
            quote = await c.call("quote_withdrawal", amount_cents=40_000_00, **terms)
            error = await c.call("create_withdrawal", quote_id=quote["quote_id"])
            assert error["code"] == "input.invalid"
            assert "at most 22500 US cents" in error["fields"][0]["rule"]
            assert error["next_steps"][0]["tool"] == "get_balances"
            assert (await c.call("status"))["waiting"] == []
            most = await c.call("quote_withdrawal", amount_cents=225_00, **terms)
            assert (await c.call("create_withdrawal", quote_id=most["quote_id"]))["code"] == "approval.required"


async def test_a_person_sees_the_balance_and_the_history_of_the_destination(tmp_path: Path) -> None:
    async def asked(c: ToolCaller, cents: int, address: str) -> dict[str, tuple[str, str | None]]:
        terms = {"currency": "rusd", "network": "base", "address": address}
        quote = await c.call("quote_withdrawal", amount_cents=cents, **terms)
        refused = await c.call("create_withdrawal", quote_id=quote["quote_id"])
        env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path)}
        async with open_guard(read_settings(env)) as guard:
            (waiting,) = [one for one in await guard.channels.waiting() if one.id == refused["approval_id"]]
        return {item.label: (item.value, item.note) for item in waiting.details.context}

    async with in_process_sandbox() as sandbox:
        async with caller(tmp_path, sandbox=sandbox) as c:
            await funded(c, 400)
        async with caller(tmp_path, sandbox=sandbox, answer=None) as c:
            first = await asked(c, 25_00, ADDRESS)
        async with caller(tmp_path, sandbox=sandbox) as c:
            for _ in range(2):
                quote = await c.call(
                    "quote_withdrawal", amount_cents=25_00, currency="rusd", network="base", address=ADDRESS
                )
                sent = await c.call("create_withdrawal", quote_id=quote["quote_id"])
                assert sent.get("code") in (None, "outcome.unknown"), sent
            left = (await c.call("get_balances"))["spending_power_cents"]
        async with caller(tmp_path, sandbox=sandbox, answer=None) as c:
            again = await asked(c, 50_00, ADDRESS.upper().replace("0X", "0x"))
            large = await asked(c, 50_01, CHECKSUMMED)
    assert first == {"Balance": ("$400.00, $375.00 afterwards", None), "Earlier withdrawals here": ("none", None)}
    assert again == {
        "Balance": (f"{dollars(left)}, {dollars(left - 5000)} afterwards", None),
        "Earlier withdrawals here": (f"2, the last on {datetime.now(UTC):%Y-%m-%d}", None),
    }
    assert large["Earlier withdrawals here"] == ("none", None)
    value, note = large["Largest earlier withdrawal"]
    assert value == "$25.00" and note is not None and note.startswith("large for this user")


async def test_a_repeated_call_finds_its_approval_though_the_balance_has_changed(tmp_path: Path) -> None:
    async with in_process_sandbox() as sandbox:
        async with caller(tmp_path, sandbox=sandbox) as c:
            await funded(c, 200)
        async with caller(tmp_path, sandbox=sandbox, answer=None) as c:
            terms = {"currency": "rusd", "network": "base", "address": ADDRESS}
            quote = await c.call("quote_withdrawal", amount_cents=2500, **terms)
            first = await c.call("create_withdrawal", quote_id=quote["quote_id"])
            deposit = await c.call("create_deposit", currency="rusd", network="base", amount=50)
            await c.control("/deposits", depositId=deposit["deposit_id"])
            again = await c.call("create_withdrawal", quote_id=quote["quote_id"])
    assert again["approval_id"] == first["approval_id"]


async def _notes(folder: Path) -> dict[str, str | None]:
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder)}
    async with open_guard(read_settings(env)) as guard:
        waiting = await guard.channels.waiting()
    return {item.label: item.note for item in waiting[-1].details.items}


ODD_BALANCE = {"op": "replace", "path": "/data/balances/spendingPower", "value": "?"}


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 404}, {"kind": "patch", "patch": [ODD_BALANCE]}])
async def test_unread_balance_and_unknown_network_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    async with in_process_sandbox() as sandbox:
        async with caller(tmp_path, sandbox=sandbox) as c:
            await funded(c)
        async with caller(tmp_path, sandbox=sandbox, answer=None) as c:
            terms = {"currency": "rusd", "network": "base", "address": ADDRESS}
            quote = await c.call("quote_withdrawal", amount_cents=2500, **terms)
            await c.control("/faults", **fault, path="/balances", exact=True, calls=9)
            # As if this version did not know the network.
            monkeypatch.setattr(networks, "_FAMILIES", {})
            asked = await c.call("create_withdrawal", quote_id=quote["quote_id"])
            assert asked["code"] == "approval.required"
        notes = await _notes(tmp_path)
    assert notes["Amount"] == "not compared with the balance, which could not be read"
    assert "not checked" in (notes["Address"] or "")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            {"currency": "rusd", "network": "base", "address": CHECKSUMMED},
            {"currency": "RUSD", "network": "BASE", "address": CHECKSUMMED.lower()},
        ),
        (
            {"currency": "btc", "network": "bitcoin", "address": BITCOIN},
            {"currency": "btc", "network": "bitcoin", "address": BITCOIN.upper()},
        ),
    ],
)
async def test_same_destination_in_another_case_is_not_the_first_time(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any]
) -> None:
    async with in_process_sandbox() as sandbox:
        async with caller(tmp_path, sandbox=sandbox) as c:
            await funded(c)
            quote = await c.call("quote_withdrawal", amount_cents=2500, **first)
            assert (await c.call("create_withdrawal", quote_id=quote["quote_id"]))["status"] == "ready"
        async with caller(tmp_path, sandbox=sandbox, answer=None) as c:
            for terms, note in (
                (second, None),
                (
                    first | {"address": ADDRESS, "network": "base", "currency": "rusd"},
                    "the first withdrawal to this destination",
                ),
            ):
                quote = await c.call("quote_withdrawal", amount_cents=2500, **terms)
                await c.call("create_withdrawal", quote_id=quote["quote_id"])
                assert (await _notes(tmp_path))["Address"] == note


async def test_approval_of_a_withdrawal_ends_with_its_quote(tmp_path: Path) -> None:
    async with in_process_sandbox() as sandbox:
        async with caller(tmp_path, sandbox=sandbox) as c:
            await funded(c)
        async with caller(tmp_path, sandbox=sandbox, answer=None) as c:
            terms = {"amount_cents": 2500, "currency": "rusd", "network": "base", "address": ADDRESS}
            quote = await c.call("quote_withdrawal", **terms)
            asked = await c.call("create_withdrawal", quote_id=quote["quote_id"])
            assert asked["code"] == "approval.required"
            ends = datetime.fromisoformat(quote["expires_at"])
            assert abs(datetime.fromisoformat(asked["expires_at"]) - ends) < timedelta(seconds=1)
            assert await decide({"MACHINES_STATE_DIR": str(c.state_dir)}, asked["approval_id"]) == "granted"
            with state(tmp_path) as db:
                (granted,) = db.execute("SELECT expires_at FROM approvals WHERE id = ?", (asked["approval_id"],))
                db.execute("UPDATE quotes SET expires_at = 0")
                db.execute("UPDATE approvals SET expires_at = 0")
            assert granted[0] <= ends.timestamp() + 1
            late = await c.call("create_withdrawal", quote_id=quote["quote_id"], approval_id=asked["approval_id"])
            assert late["code"] == "approval.expired"
            (step,) = late["next_steps"]
            # Nobody is asked about a quote that has ended.
            assert (await c.call(step["tool"], **step["arguments"]))["code"] == "quote.expired"
            assert (await c.call("status"))["waiting"] == []
