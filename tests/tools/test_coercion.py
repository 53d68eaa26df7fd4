"""Coercion of arguments: which forms are accepted, which are rejected with an example, and which are left unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.protocol.arguments import validate
from machines_mcp.protocol.coercion import schema_of
from machines_mcp.protocol.errors import ToolError
from machines_mcp.tools.catalog import TOOLS
from tests.support.stdio_client import applicant
from tests.support.tool_caller import caller
from tests.tools import golden

BY_NAME = {tool.name: tool for tool in TOOLS}
TERMS = {"amount_cents": 2500, "currency": "rusd", "network": "base", "address": "0x" + "cd" * 20}
CODE, NUMBER = {"phone_country_code": "1"}, {"phone_number": "4155550100"}
CARD = {"card_id": "00000000-0000-4000-8000-000000000000"}
QUOTE = {"currency": "usdc", "network": "base", "amount": 1}
WHOLE = ("create_card", {"limit_frequency": "allTime"}, "limit_amount_cents")


def read(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return validate(BY_NAME[tool], {"user_id": "user-1"} | arguments, None).model_dump(mode="json")


def rules(tool: str, arguments: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ToolError) as refused:
        read(tool, arguments)
    return {fault.field: fault.rule for fault in refused.value.fields}


@pytest.mark.parametrize(
    ("tool", "rest", "field", "canonical", "meant"),
    [
        (*WHOLE, 2500, ["2500", " 2500 ", "+2500", "02500", 2500.0]),
        ("list_cards", {}, "limit", 10, ["10", 10.0]),
        ("get_kyc_status", {}, "wait_seconds", 0, ["0", None]),
        ("quote_deposit", QUOTE, "amount", 25.5, ["25.50", " 25.5", "+25.5"]),
        ("quote_deposit", QUOTE, "amount", 25, ["25", "25.00", 25.0]),
        ("quote_deposit", QUOTE, "amount_currency", "usd", ["USD", " usd "]),
        ("create_card", {"limit_amount_cents": 1}, "limit_frequency", "per30DayPeriod", ["PER30DAYPERIOD"]),
        ("list_transactions", {}, "types", ["spend", "fee"], ['["spend", "fee"]', '["Spend","FEE"]', ["Spend", "fee"]]),
        ("list_transactions", {}, "types", None, [None]),
        ("update_card", CARD, "status", "locked", ["Locked", "LOCKED"]),
        ("submit_kyc", applicant(), "birth_date", "1990-01-31", [" 1990-01-31 "]),
        ("submit_kyc", applicant(), "country_of_issue", "US", ["us", " Us"]),
        ("submit_kyc", applicant(), "address_country_code", "DE", ["de"]),
        ("submit_kyc", applicant() | NUMBER, "phone_country_code", "1", ["+1", 1, "(+1)"]),
        (
            "submit_kyc",
            applicant() | CODE,
            "phone_number",
            "4155550100",
            ["(415) 555-0100", "415–555–0100", "415.555.0100", 4155550100],
        ),
        (
            "submit_kyc",
            applicant() | {"phone_country_code": "+1"},
            "phone_number",
            "4155550100",
            ["+1 415 555-0100", "+1 (415) 555 0100"],
        ),
        ("submit_kyc", applicant(), "national_id", "001020003", ["001-02-0003", "001 02 0003", "001–02–0003"]),
        ("submit_kyc", applicant(), "occupation", "15-1132", ["15–1132", "15 - 1132", " 15\u22121132"]),
        ("submit_kyc", applicant(), "annual_salary", "50k–99k", ["50k-99k", "50k—99k", "50k \u2212 99k", "50K-99K"]),
        ("submit_kyc", applicant(), "expected_monthly_volume", "$1k–$5k", ["$1k-$5k", "$1K – $5K"]),
        ("submit_kyc", applicant(), "account_purpose", "everyday spend", ["Everyday  Spend"]),
    ],
)
def test_unambiguous_form_equals_its_canonical_form(
    tool: str, rest: dict[str, Any], field: str, canonical: Any, meant: list[Any]
) -> None:
    expected = read(tool, rest | {field: canonical})
    for value in meant:
        # Byte by byte, because the approval is bound to it.
        assert json.dumps(read(tool, rest | {field: value})) == json.dumps(expected), value


@pytest.mark.parametrize(
    ("tool", "rest", "field", "example", "doubtful"),
    [
        (*WHOLE, "2500 for $25.00", ["25.00", "25.0", "$25", "2,500", "2_500", "2.5e3", "0x9c4", 25.5, True, ""]),
        ("list_cards", {}, "limit", "20", ["ten", "10.0", True, [10], ""]),
        ("quote_deposit", QUOTE, "amount", "25.5", ["1,000", "1e3", "25 usdc", "nan", True, ".5"]),
        ("list_transactions", {}, "types", '["spend"]', ["spend", "spend,fee", '{"a": 1}', "[", 5, "[" * 20_000]),
        ("submit_kyc", applicant(), "birth_date", "1990-01-31", ["31/01/1990", "1990-1-31", "19900131", "1990-02-30"]),
        ("submit_kyc", applicant(), "country_of_issue", "US", ["USA", "United States", "U", 1]),
        ("submit_kyc", applicant() | NUMBER, "phone_country_code", "1", ["US", "0x1", True]),
        ("submit_kyc", applicant(), "national_id", '"001234567"', [1020003, "001 02 000X"]),
        ("submit_kyc", applicant(), "address_postal_code", '"02139"', [2139]),
        ("submit_kyc", applicant(), "occupation", "15-1132", ["developer of software", 15]),
        ("submit_kyc", applicant(), "email", "ada@example.com", ["ada at example.com"]),
        ("submit_kyc", applicant(), "annual_salary", "50k–99k", ["60k", "50k to 99k", 50]),
        ("quote_withdrawal", TERMS, "currency", "usdc", ["usd c", 5]),
        ("quote_withdrawal", TERMS, "network", "base", ["on base"]),
    ],
)  # fmt: skip
def test_ambiguous_form_is_rejected_with_an_example(
    tool: str, rest: dict[str, Any], field: str, example: str, doubtful: list[Any]
) -> None:
    for value in doubtful:
        (fault,) = rules(tool, rest | {field: value}).items()
        assert fault[0] == field, value
        assert example in fault[1], value


@pytest.mark.parametrize("value", ["call me", "٤١٥٥٥٥", -41555, True, "415"])
@pytest.mark.parametrize("code", [CODE, {}])
def test_ambiguous_phone_number_is_rejected(value: Any, code: dict[str, str]) -> None:
    assert rules("submit_kyc", applicant() | code | {"phone_number": value})["phone_number"].startswith("must ")


def test_phone_number_with_another_country_code_is_rejected() -> None:
    data = applicant() | {"phone_country_code": "49", "phone_number": "+1 415 555 0100"}
    assert list(rules("submit_kyc", data)) == ["phone_number"]


@pytest.mark.parametrize(
    ("tool", "field", "near"),
    [
        ("get_card", "card_id", [f" {CARD['card_id']}", int("9" * 12), f'"{CARD["card_id"]}"']),
        ("quote_withdrawal", "address", [f" {TERMS['address']}", f'"{TERMS["address"]}"', 12345678]),
        ("quote_withdrawal", "extra_id", [123456, " 123456", "12 34"]),
        ("quote_withdrawal", "admin_address", ["0X" + "cd" * 20, "cd" * 20]),
        ("quote_withdrawal", "currency", [" rusd"]),
        ("create_withdrawal", "quote_id", ["QUOTE_" + "0" * 32, "0" * 32]),
        ("resolve_user", "wallet_address", ["0x" + "cd" * 20 + " "]),
        ("resolve_user", "user_id", [5, " user-1"]),
    ],
)
def test_money_and_identity_values_are_never_guessed(tool: str, field: str, near: list[Any]) -> None:
    known: dict[str, dict[str, Any]] = {"quote_withdrawal": TERMS, "get_card": CARD}
    rest = known.get(tool, {})
    for value in near:
        assert list(rules(tool, rest | {field: value})) == [field], value


@pytest.mark.parametrize("address", ["0x" + "cD" * 20, "0001234567", "true", "NULL", "[12]", "{1-2}", "USD-50K"])
def test_address_or_memo_that_resembles_another_type_is_unchanged(address: str) -> None:
    found = read("quote_withdrawal", TERMS | {"network": "newchain", "address": address, "extra_id": address})
    assert (found["address"], found["extra_id"]) == (address, address)


async def _types() -> dict[tuple[str, str], Any]:
    found = await golden.listed()
    return {(tool["name"], name): field for tool in found for name, field in tool["inputSchema"]["properties"].items()}


@pytest.mark.anyio
async def test_published_schema_has_only_the_canonical_type_and_no_example() -> None:
    published = await _types()
    for where, field in published.items():
        assert isinstance(field["type"], str), where
        assert not {"anyOf", "oneOf", "examples"} & field.keys(), where
    for tool in TOOLS:
        for name, field in schema_of(tool.input_model)["properties"].items():
            assert published[tool.name, name]["type"] == field["type"]


@pytest.mark.anyio
async def test_other_forms_of_a_call_match_its_pending_approval(tmp_path: Path) -> None:
    async with caller(tmp_path, answer=None) as c:
        first = await c.call("submit_kyc", **applicant())
        assert first["code"] == "approval.required"
        other = {
            "annual_salary": "50K-99k",
            "country_of_issue": "us",
            "account_purpose": "TESTING",
            "occupation": "15–1132",
        }
        again = await c.call("submit_kyc", **applicant() | other | {"address_line2": None})
        assert again["approval_id"] == first["approval_id"]
        by_id = await c.call("submit_kyc", **applicant() | other, approval_id=first["approval_id"])
        assert by_id["code"] == "approval.required"
        different = await c.call("submit_kyc", **applicant() | {"country_of_issue": "de"})
        assert different["approval_id"] != first["approval_id"]
