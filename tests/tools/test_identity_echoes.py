"""Identity data that was submitted comes back in no answer, whatever Machines repeats in its texts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.running_desk import FakeBrowser
from tests.support.stdio_client import applicant
from tests.support.tool_caller import ToolCaller, caller
from tests.tools.test_kyc_at_the_desk import submit_form
from tests.tools.test_sensitive_ids import TRANSACTION

pytestmark = pytest.mark.anyio

PERSON = applicant("Brewster-Approved") | {
    "first_name": "Philippa", "birth_date": "1986-12-09", "national_id": "TEST-19064277", "email": "pip@example.net",
    "address_line1": "12 Quernmore Road", "address_line2": "Flat 7 B", "address_city": "Lancaster",
    "address_region": "Lancashire", "address_postal_code": "LA1 3JT", "phone_country_code": "44",
    "phone_number": "1524555010",
}  # fmt: skip
FROM_LISTS = {
    *("country_of_issue", "address_country_code", "phone_country_code"),
    *("occupation", "annual_salary", "account_purpose", "expected_monthly_volume"),
}
VALUES = {name: str(value) for name, value in PERSON.items() if name not in FROM_LISTS}
SAID: dict[str, Callable[[str], str]] = {
    "as it is": lambda value: value,
    "in a sentence": lambda value: f"To {value}, with thanks",
    "in capitals": lambda value: f"{value} Ltd".upper(),
    "long": lambda value: f"{'about ' * 30}{value} {'and so on ' * 500}",
}
TEXTS = {
    "/kyc/status": ("status", "reason", "completionLink", "externalVerificationLink"),
    "/users/resolve": ("kycStatus", "walletAddress"),
    "/agreements": ("agreements/0/id", "agreements/0/text", "agreements/0/links/0/label", "agreements/0/links/0/url"),
    "/kyc/values": ("fields/0/type", "fields/1/regex", "fields/2/name", "occupations/0/label", "annualSalary/0"),
    "/deposits/assets": ("assets/0/name", "assets/0/networks/0/label"),
    "/withdrawals/assets": ("assets/0/name", "assets/0/networks/0/label"),
    "/deposits/range": ("toCurrency", "toNetwork"),
    "/deposits": tuple(
        f"deposits/0/{name}"
        for name in ("status", "fromCurrency", "fromNetwork", "id", "depositAddress", "payinExtraId")
    ),
    "/transactions": tuple(
        f"transactions/0/{name}" for name in ("transactionId", "type", "status", "currency", "merchantName")
    ),
    "/cards": ("cards/0/status", "cards/0/brand", "cards/0/limit/frequency", "nextCursor"),
    "/encryption/decrypt": ("value",),
}
"""The texts of responses, by the path of the request."""
READS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("get_kyc_status", {}),
    ("resolve_user", {}),
    ("get_agreements", {}),
    ("get_kyc_requirements", {}),
    ("list_deposit_assets", {}),
    ("list_withdrawal_assets", {}),
    ("quote_deposit", {"currency": "rusd", "network": "base", "amount": 20}),
    ("list_deposits", {"scope": "all"}),
    ("list_transactions", {}),
    ("list_cards", {}),
    ("status", {}),
)


def plain(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())


async def echo(c: ToolCaller, said: str) -> None:
    """Have each text of each response contain `said`."""
    await c.control("/faults/clear")
    for path, places in TEXTS.items():
        steps = [{"op": "replace", "path": "/data/transactions", "value": [TRANSACTION]}] * (path == "/transactions")
        steps += [
            {"op": "add", "path": f"/data/{place}", "value": f"https://example.com/{said}" if "ink" in place else said}
            for place in places
        ]
        await c.control("/faults", kind="patch", path=path, exact=True, patch=steps, calls=1000)


@asynccontextmanager
async def submitted(folder: Path, way: str) -> AsyncIterator[ToolCaller]:
    """Yield a caller for a user whose identity data was sent by the model or by a person at the desk."""
    async with caller(folder) as c:
        if way == "the tool":
            assert (await c.call("submit_kyc", **PERSON))["status"] == "approved"
        else:
            asked = await c.call("submit_kyc")
            async with httpx.AsyncClient(trust_env=False) as http:
                assert (await submit_form(FakeBrowser("", http), asked["page"], PERSON)).status_code == 303
            assert (await c.call("submit_kyc", approval_id=asked["approval_id"]))["status"] == "approved"
        await c.call("accept_agreements")
        await c.call("create_card", label="Fuel", limit_amount_cents=500, limit_frequency="per30DayPeriod")
        await c.call("create_deposit", currency="rusd", network="base", amount=20)
        yield c


@pytest.mark.parametrize("way", ["the tool", "the desk's form"])
@pytest.mark.parametrize("said", SAID)
async def test_no_value_comes_back_in_any_answer(tmp_path: Path, way: str, said: str) -> None:
    async with submitted(tmp_path, way) as c:
        for name, value in VALUES.items():
            await echo(c, SAID[said](value))
            for tool, arguments in READS:
                found = json.dumps(await c.call(tool, **arguments), ensure_ascii=False)
                assert plain(value) not in plain(found), (name, tool)


@pytest.mark.parametrize("said", SAID)
async def test_no_value_comes_back_in_what_a_person_is_asked(tmp_path: Path, said: str) -> None:
    async with submitted(tmp_path, "the tool") as c:
        card = (await c.call("list_cards"))["cards"][0]["card_id"]
        for value in (VALUES["last_name"], VALUES["address_line1"]):
            await echo(c, SAID[said](value))
            await c.call("update_card", card_id=card, limit_amount_cents=900, limit_frequency="per30DayPeriod")
        await c.call("close_card", card_id=card)
        stored = b"".join(file.read_bytes() for file in (tmp_path / "embedded").glob("state.db*"))
        assert b"Permanently close the card" in stored
        for value in (VALUES["last_name"], VALUES["address_line1"]):
            assert plain(value).encode() not in plain(stored.decode("utf-8", "ignore")).encode()


async def test_other_texts_reach_the_answers(tmp_path: Path) -> None:
    async with submitted(tmp_path, "the tool") as c:
        await echo(c, "Zanzibar")
        reached = [tool for tool, arguments in READS if "Zanzibar" in json.dumps(await c.call(tool, **arguments))]
    assert len(reached) >= 8


async def test_honest_answers_are_unchanged(tmp_path: Path) -> None:
    async with submitted(tmp_path, "the tool") as c:
        for tool, arguments in READS:
            assert "•" not in json.dumps(await c.call(tool, **arguments), ensure_ascii=False), tool


@pytest.mark.parametrize("place", ["depositAddress", "payinExtraId"])
@pytest.mark.parametrize("network", ["ripple", "base", "a-new-chain"])
@pytest.mark.parametrize("value", ["152455501", "TEST-19064277", "pip@example.net", "Philippa"])
async def test_deposit_is_shown_without_a_payee_that_repeats_identity_data(
    tmp_path: Path, place: str, network: str, value: str
) -> None:
    async with caller(tmp_path) as c:
        assert (await c.call("submit_kyc", **PERSON | {"phone_number": "152455501"}))["status"] == "approved"
        await c.call("accept_agreements")
        for path, key in (("/deposits", "deposit"), ("/deposits/{depositId}", "deposit"), ("/deposits", "deposits/0")):
            method = "POST" if key == "deposit" and path == "/deposits" else "GET"
            steps = [{"op": "add", "path": f"/data/{key}/{place}", "value": value}]
            if method == "GET":
                steps.append({"op": "add", "path": f"/data/{key}/fromNetwork", "value": network})
            await c.control("/faults", kind="patch", path=path, method=method, exact=True, patch=steps, calls=9)
        currency, asked = ("xrp", "ripple") if network == "ripple" else ("rusd", "base")
        made = await c.call("create_deposit", currency=currency, network=asked, amount=50)
        read = await c.call("get_deposit", deposit_id=made["deposit_id"])
        (listed,) = (await c.call("list_deposits", scope="all"))["deposits"]
        for found in (made, read, listed):
            assert found["deposit_id"] == made["deposit_id"]
            assert not {"deposit_address", "memo"} & set(found), found
            assert value not in json.dumps(found)
        for found in (made, read):
            assert "send the currency" not in json.dumps(found)
            assert found["next_steps"]


async def test_wallet_that_repeats_identity_data_is_left_out(tmp_path: Path) -> None:
    # An address can be part of a name only by chance, so this one is learned as a name.
    wallet = "0x" + "ab" * 20
    async with caller(tmp_path) as c:
        assert (await c.call("submit_kyc", **PERSON | {"address_line1": wallet}))["status"] == "approved"
        steps = [{"op": "add", "path": "/data/walletAddress", "value": wallet}]
        await c.control("/faults", kind="patch", path="/users/resolve", patch=steps, calls=1)
        found = await c.call("resolve_user")
        assert found["user_id"] == "tool-user" and "wallet_address" not in found
        assert wallet not in json.dumps(found)
