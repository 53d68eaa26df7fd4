"""A response about something else is never a success: each tool, with one value of the response changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.interrupted import lose_response, short_reconciliation_wait, unresolved_call
from tests.support.tool_caller import ToolCaller, caller
from tests.tools.test_withdrawals import ADDRESS, funded

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures(short_reconciliation_wait.__name__)]

Arguments = Callable[[ToolCaller], Awaitable[dict[str, Any]]]
OTHER_ID = "00000000-0000-4000-8000-000000000000"
LIMIT = {"limit_amount_cents": 5000, "limit_frequency": "per30DayPeriod"}
TERMS = {"amount_cents": 2500, "currency": "rusd", "network": "base", "address": ADDRESS}


def given(**arguments: Any) -> Arguments:
    async def arguments_of(c: ToolCaller) -> dict[str, Any]:
        return arguments

    return arguments_of


def with_card(**arguments: Any) -> Arguments:
    async def arguments_of(c: ToolCaller) -> dict[str, Any]:
        return {"card_id": (await c.call("create_card"))["card_id"], **arguments}

    return arguments_of


def with_locked_card(**limit: Any) -> Arguments:
    async def arguments_of(c: ToolCaller) -> dict[str, Any]:
        card_id = (await c.call("create_card", **limit))["card_id"]
        await c.call("update_card", card_id=card_id, status="locked")
        return {"card_id": card_id, "status": "active"}

    return arguments_of


async def with_deposit(c: ToolCaller) -> dict[str, Any]:
    deposit = await c.call("create_deposit", currency="rusd", network="base", amount=20)
    return {"deposit_id": deposit["deposit_id"]}


def with_quote(**changes: Any) -> Arguments:
    async def arguments_of(c: ToolCaller) -> dict[str, Any]:
        return {"quote_id": (await c.call("quote_withdrawal", **TERMS | changes))["quote_id"]}

    return arguments_of


@dataclass(frozen=True)
class Case:
    """A call, and the change to the response of `path` by `method` that makes it one about something else."""

    tool: str
    arguments: Arguments
    method: str
    path: str
    field: str
    value: Any
    code: str = "outcome.unknown"

    @property
    def name(self) -> str:
        return f"{self.tool}-{self.field}"

    @property
    def alarm(self) -> str:
        words = self.path.replace("/", ".").replace("{", "").replace("}", "")
        return f"response.mismatch:{self.method}{words}:{self.field}"


MALFORMED = "partner.malformed"
KYC, QUOTE, DEPOSIT = given(purpose="kyc"), given(**TERMS), given(currency="rusd", network="base", amount=20)
WALLET, OTHER_WALLET = "0x" + "ab" * 20, "0x" + "cd" * 20
RESOLVE, RANGE, ESTIMATE = "/users/resolve", "/withdrawals/range", "/withdrawals/estimate"
SPEND = {"transactionId": OTHER_ID, "type": "spend", "status": "posted", "amountCents": 1, "currency": "USD"}
RELAYED = with_quote(currency="hbar", network="hbar", address="0.0.654321", extra_id="40001")
CASES = [
    Case("create_session", KYC, "POST", "/sessions", "scopes", ["cards.secrets.read"], MALFORMED),
    Case("create_session", KYC, "POST", "/sessions", "userId", "somebody-else", MALFORMED),
    Case("resolve_user", given(), "POST", RESOLVE, "userId", "somebody-else"),
    Case("resolve_user", given(wallet_address=WALLET), "POST", RESOLVE, "walletAddress", OTHER_WALLET),
    Case("accept_agreements", given(), "POST", "/agreements", "accepted", False),
    Case("quote_deposit", DEPOSIT, "POST", "/deposits/range", "range.fromCurrency", "usdc", MALFORMED),
    Case("quote_deposit", DEPOSIT, "POST", "/deposits/estimate", "estimate.fromNetwork", "solana", MALFORMED),
    Case("quote_deposit", DEPOSIT, "POST", "/deposits/estimate", "estimate.quotedAmount", 20.1, MALFORMED),
    Case("create_deposit", DEPOSIT, "POST", "/deposits", "deposit.fromCurrency", "btc"),
    Case("create_deposit", DEPOSIT, "POST", "/deposits", "deposit.fromNetwork", "solana"),
    Case("get_deposit", with_deposit, "GET", "/deposits/{depositId}", "deposit.id", OTHER_ID, MALFORMED),
    Case("create_card", given(**LIMIT), "POST", "/cards", "limit.amountCents", 9_000_000),
    Case("create_card", given(**LIMIT), "POST", "/cards", "limit.frequency", "perAuthorization"),
    Case("create_card", given(**LIMIT), "POST", "/cards", "limit", None),
    Case("create_card", given(label="Fuel"), "POST", "/cards", "encryptedName", {"v": 1, "iv": "AAAA", "ct": "AAAA"}),
    Case("get_card", with_card(), "GET", "/cards/{cardId}", "cardId", OTHER_ID, MALFORMED),
    Case("get_card", with_card(), "GET", "/cards/{cardId}", "last4", "0000", MALFORMED),
    Case("update_card", with_card(status="locked"), "PATCH", "/cards/{cardId}", "status", "active"),
    Case("update_card", with_card(status="locked"), "PATCH", "/cards/{cardId}", "cardId", OTHER_ID),
    Case("update_card", with_card(status="locked"), "PATCH", "/cards/{cardId}", "last4", "0000"),
    Case("update_card", with_card(**LIMIT), "PATCH", "/cards/{cardId}", "limit.amountCents", 5001),
    Case("update_card", with_locked_card(**LIMIT), "PATCH", "/cards/{cardId}", "limit.amountCents", 9_000_000),
    Case("update_card", with_locked_card(**LIMIT), "PATCH", "/cards/{cardId}", "limit.frequency", "perAuthorization"),
    Case("update_card", with_locked_card(**LIMIT), "PATCH", "/cards/{cardId}", "limit", None),
    Case("close_card", with_card(), "DELETE", "/cards/{cardId}", "cardId", OTHER_ID),
    Case("close_card", with_card(), "DELETE", "/cards/{cardId}", "status", "active"),
    Case("list_transactions", with_card(), "GET", "/transactions", "transactions.0", {"cardId": OTHER_ID}, MALFORMED),
    Case("list_transactions", given(types=["fee"]), "GET", "/transactions", "transactions.0", {}, MALFORMED),
    Case("quote_withdrawal", QUOTE, "POST", RANGE, "range.toCurrency", "btc", MALFORMED),
    Case("quote_withdrawal", QUOTE, "POST", ESTIMATE, "estimate.toNetwork", "solana", MALFORMED),
    Case("quote_withdrawal", QUOTE, "POST", ESTIMATE, "estimate.fromAmountCents", 2600, MALFORMED),
    Case("quote_withdrawal", QUOTE, "POST", ESTIMATE, "estimate.destinationExtraId", "7", MALFORMED),
    Case("create_withdrawal", with_quote(), "POST", "/withdrawals", "parameters.3", "0x" + "00" * 20),
    Case("create_withdrawal", with_quote(), "POST", "/withdrawals", "parameters.2", "25000001"),
    Case("create_withdrawal", with_quote(source_chain_id=84532), "POST", "/withdrawals", "execution.chainId", 1),
    Case("create_withdrawal", with_quote(), "POST", "/withdrawals", "parameters", {"recipient": ADDRESS}),
    Case("create_withdrawal", with_quote(), "POST", "/withdrawals", "signature.parameters", ["0x"] * 8),
    Case("create_withdrawal", with_quote(), "POST", "/withdrawals", "execution.chainId", 1),
    Case("create_withdrawal", with_quote(), "POST", "/withdrawals", "execution.callTarget", "0x" + "00" * 20),
    Case("create_withdrawal", RELAYED, "POST", "/withdrawals", "relay.payinExtraId", "12345"),
    Case("create_withdrawal", RELAYED, "POST", "/withdrawals", "relay.payoutAddress", "0.0.1"),
    Case("create_withdrawal", RELAYED, "POST", "/withdrawals", "relay.payoutExtraId", "1"),
    Case("create_withdrawal", RELAYED, "POST", "/withdrawals", "relay.toCurrency", "btc"),
]  # fmt: skip
SENT_TWICE = ("create_withdrawal",)
# The alarm has the path of the rule, not of what the case changes.
RULES = {
    "walletAddress": "walletAddress.wallet.address",
    "limit": "limit.amountCents",
    "parameters.3": "parameters.3.7",
    "parameters.2": "parameters.2.7",
}


async def change(c: ToolCaller, case: Case) -> None:
    row = case.field == "transactions.0"
    value = SPEND | {"createdAt": "2026-01-16T14:17:52.000Z"} | case.value if row else case.value
    step = {"op": "add" if row else "replace", "path": "/data/" + case.field.replace(".", "/"), "value": value}
    order = {"kind": "patch", "path": case.path, "method": case.method, "exact": True, "patch": [step]}
    # Signatures come with the second response. A parameter that the first does not have is left alone.
    await c.control("/faults", **order, calls=2 if case.tool in SENT_TWICE else 1)


def alarms(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "embedded" / "state.db")) as db:
        return [code for (code,) in db.execute("SELECT code FROM audit WHERE kind = 'alarm'")]


def journal(folder: Path) -> list[str]:
    """Return the state of the newest mutation."""
    with closing(sqlite3.connect(folder / "embedded" / "state.db")) as db:
        return [state for (state,) in db.execute("SELECT state FROM mutations ORDER BY rowid DESC LIMIT 1")]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_response_about_something_else_is_no_success(tmp_path: Path, case: Case) -> None:
    async with caller(tmp_path) as c:
        if case.tool not in ("create_session", "resolve_user", "accept_agreements"):
            await funded(c)
        elif case.tool == "accept_agreements":
            await c.call("resolve_user")
            await c.control("/kyc", userId="tool-user", decision="approved")
        arguments = await case.arguments(c)
        await change(c, case)
        error = await c.call(case.tool, **arguments)
        assert error["code"] == case.code
        if case.code == "outcome.unknown":
            assert journal(tmp_path) == ["unknown"]
    named = RULES.get(case.field, case.field)
    if case.field == "transactions.0":
        named = f"transactions.{'cardId' if 'card_id' in arguments else 'type'}"
    # The audit log is complete once the server is closed.
    assert alarms(tmp_path) == [case.alarm.removesuffix(case.field) + named]


UNCOMPARABLE: list[dict[str, Any]] = [
    {"parameters": ["0x"] * 8},
    {"parameters": None, "signature": None},
    {"parameters": "[]", "signature": {"data": "0x"}},
    {"execution": None},
]


@pytest.mark.parametrize("changes", UNCOMPARABLE, ids=lambda changes: "-".join(changes))
async def test_withdrawal_that_can_not_be_compared_needs_a_person(tmp_path: Path, changes: dict[str, Any]) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        quote = await with_quote()(c)
        patch = [{"op": "replace", "path": f"/data/{name}", "value": value} for name, value in changes.items()]
        # The first response is pending, so that it has none of these values yet.
        order = {"kind": "patch", "path": "/withdrawals", "method": "POST", "exact": True, "patch": patch}
        await c.control("/faults", **order, calls=2)
        error = await c.call("create_withdrawal", **quote)
        assert error["code"] == "outcome.unknown"
        await c.control("/faults/clear")
        for _ in range(2):
            again = await c.call("create_withdrawal", **quote, approval_id=error["approval_id"])
            assert (again["code"], again["retryable"]) == ("outcome.unknown", False)
            assert "doctor --resolve" in again["message"]
        assert (await c.call("create_withdrawal", **quote))["code"] == "quote.used"
        async with c.sandbox.http() as http:
            (user,) = (await http.get(c.sandbox.control_url)).json()["data"]["users"]
        assert sum(user["withdrawals"][status] for status in ("pending", "ready")) == 1
        (shown,) = (await c.call("status"))["unresolved"]
        assert shown["status"] == "needs_person"
    (alarm,) = alarms(tmp_path)
    assert alarm.startswith("response.mismatch:POST.withdrawals:")


async def test_other_limit_in_a_response_is_reconciled_with_the_card(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        await change(c, Case("create_card", given(), "POST", "/cards", "limit.amountCents", 1))
        error = await c.call("create_card", **LIMIT, label="Fuel")
        made = await c.call("create_card", **LIMIT, label="Fuel", approval_id=error["approval_id"])
        assert {name: made[name] for name in LIMIT} == LIMIT
        assert [card["card_id"] for card in (await c.call("list_cards"))["cards"]] == [made["card_id"]]


@pytest.mark.parametrize("label", [None, "Fuel"])
async def test_card_with_another_limit_needs_a_person_and_is_not_made_again(tmp_path: Path, label: str | None) -> None:
    wish: dict[str, Any] = {**LIMIT, "label": label} if label else {**LIMIT}
    async with caller(tmp_path) as c:
        await c.approved()
        await c.control("/keys", honoured=False)
        await change(c, Case("create_card", given(), "POST", "/cards", "limit.amountCents", 9_000_000))
        error = await c.call("create_card", **wish)
        listed = {"op": "replace", "path": "/data/cards/0/limit/amountCents", "value": 9_000_000}
        await c.control("/faults", kind="patch", path="/cards", method="GET", exact=True, patch=[listed], calls=100)
        for _ in range(2):
            again = await c.call("create_card", **wish, approval_id=error["approval_id"])
            assert (again["code"], again["retryable"]) == ("outcome.unknown", False)
        await c.control("/faults/clear")
        assert len((await c.call("list_cards"))["cards"]) == 1
        (shown,) = (await c.call("status"))["unresolved"]
        assert shown["status"] == "needs_person"


OTHER_LIMITS: list[Any] = [
    None,
    {"amountCents": 9_000_000, "frequency": "per30DayPeriod"},
    {"amountCents": 5000, "frequency": "perAuthorization"},
]
CHANGES: list[dict[str, Any]] = [
    {"status": "active"},
    {"limit_amount_cents": 6000, "limit_frequency": "per30DayPeriod"},
    {"limit_amount_cents": 6000, "limit_frequency": "per30DayPeriod", "status": "active"},
]


async def show_limit(c: ToolCaller, method: str, limit: Any, calls: int) -> None:
    patch = [{"op": "replace", "path": "/data/limit", "value": limit}]
    order = {"kind": "patch", "path": "/cards/{cardId}", "method": method, "exact": True, "patch": patch}
    await c.control("/faults", **order, calls=calls)


@pytest.mark.parametrize("limit", OTHER_LIMITS, ids=str)
@pytest.mark.parametrize("change", CHANGES, ids="+".join)
async def test_card_with_a_limit_that_nobody_approved_needs_a_person(
    tmp_path: Path, change: dict[str, Any], limit: Any
) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        card = {"card_id": (await with_locked_card(**LIMIT)(c))["card_id"]}
        await show_limit(c, "PATCH", limit, calls=1)
        error = await c.call("update_card", **card | change)
        assert error["code"] == "outcome.unknown"
        await show_limit(c, "GET", limit, calls=100)
        for _ in range(2):
            again = await c.call("update_card", **card | change, approval_id=error["approval_id"])
            assert (again["code"], again["retryable"]) == ("outcome.unknown", False)
            assert "Nothing was done" not in again["message"]
        (shown,) = (await c.call("status"))["unresolved"]
        assert shown["status"] == "needs_person"
    assert len(alarms(tmp_path)) == 1


@pytest.mark.parametrize("change", CHANGES, ids="+".join)
async def test_card_that_has_the_approved_limit_after_all_is_done(tmp_path: Path, change: dict[str, Any]) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        card = {"card_id": (await with_locked_card(**LIMIT)(c))["card_id"]}
        await show_limit(c, "PATCH", OTHER_LIMITS[1], calls=1)
        error = await c.call("update_card", **card | change)
        made = await c.call("update_card", **card | change, approval_id=error["approval_id"])
        assert made["status"] == change.get("status", "locked")
        assert made["limit_amount_cents"] == change.get("limit_amount_cents", 5000)


async def test_call_after_an_earlier_try_does_not_say_that_nothing_was_done(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        card = {"card_id": (await with_card(**LIMIT)(c))["card_id"]}
        order = {"kind": "status", "path": "/cards/{cardId}", "method": "PATCH", "status": 429, "retryAfter": 600}
        await c.control("/faults", **order)
        error = await c.call("update_card", **card | CHANGES[1])
        assert error["code"] == "rate.limited"
        await show_limit(c, "GET", OTHER_LIMITS[1], calls=100)
        again = await c.call("update_card", **card | CHANGES[1], approval_id=error["approval_id"])
        assert again["code"] == "approval.expired"
        assert "did nothing, but an earlier try may have had an effect, and" in again["message"]
        assert "Nothing was done" not in again["message"]


UNREADABLE = [
    {"op": "replace", "path": "/data/cards/0/cardId", "value": ""},
    {"op": "replace", "path": "/data/cards/0/limit", "value": {"amountCents": -1, "frequency": "allTime"}},
    {"op": "replace", "path": "/data/cards/0/encryptedName", "value": "?"},
    {"op": "replace", "path": "/data/cards/0", "value": None},
    {"op": "add", "path": "/data/nextCursor", "value": {"page": 2}},
]


@pytest.mark.parametrize("step", UNREADABLE, ids=lambda step: str(step["path"]))
async def test_card_is_not_made_again_while_a_card_can_not_be_read(tmp_path: Path, step: dict[str, Any]) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        await c.control("/keys", honoured=False)
        # With a cursor that can't be read, the card itself may be on the next page.
        await lose_response(c, "/cards", done="cards" in step["path"].split("/"))
        approval = await unresolved_call(c, "create_card", **LIMIT)
        await c.control("/faults", kind="patch", path="/cards", method="GET", exact=True, patch=[step], calls=100)
        again = await c.call("create_card", **LIMIT, approval_id=approval)
        assert (again["code"], again["retryable"]) == ("outcome.unknown", False)
        await c.control("/faults/clear")
        assert len((await c.call("list_cards"))["cards"]) <= 1


async def test_token_with_wider_scopes_is_never_used(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        await c.control("/clock", advanceSeconds=3600)
        wider = {"op": "add", "path": "/data/scopes/-", "value": "cards.secrets.read"}
        await c.control("/faults", kind="patch", path="/sessions", patch=[wider], calls=1000)
        for tool in ("list_cards", "get_balances", "list_deposits"):
            assert (await c.call(tool))["code"] == MALFORMED
