"""An id that looks like a card number is never shown: the record is shown without it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.protocol.arguments import validate
from machines_mcp.protocol.errors import ToolError
from machines_mcp.redaction.detectors import is_sensitive_id
from machines_mcp.tools.catalog import TOOLS
from tests.support.card_numbers import card_number
from tests.support.tool_caller import ToolCaller, caller

pytestmark = pytest.mark.anyio

Prepare = Callable[[ToolCaller], Awaitable[None]]


async def signed_up(c: ToolCaller) -> None:
    await c.approved()


async def with_card(c: ToolCaller) -> None:
    await c.approved()
    await c.call("create_card", label="Fuel")


async def with_deposit(c: ToolCaller) -> None:
    await c.approved()
    await c.call("create_deposit", currency="rusd", network="base", amount=20)


TRANSACTION = {
    "transactionId": "txn-00000001", "type": "spend", "status": "posted", "amountCents": 5, "currency": "USD",
    "createdAt": "2026-01-02T03:04:05Z", "merchantName": "Zanzibar",
}  # fmt: skip


def writings() -> list[str]:
    number = card_number()
    return [number, f"card_{number}", f"{number[:4]}-{number[4:8]}-{number[8:12]}-{number[12:]}", f"{number}.1"]


CASES = {
    "a transaction": ("list_transactions", signed_up, "/transactions", "transactions/0/transactionId"),
    "a transaction's card": ("list_transactions", signed_up, "/transactions", "transactions/0/cardId"),
    "the cursor of transactions": ("list_transactions", signed_up, "/transactions", "nextCursor"),
    "a card": ("list_cards", with_card, "/cards", "cards/0/cardId"),
    "the cursor of cards": ("list_cards", with_card, "/cards", "nextCursor"),
    "a deposit": ("list_deposits", with_deposit, "/deposits", "deposits/0/id"),
    "an agreement": ("get_agreements", signed_up, "/agreements", "agreements/0/id"),
    "a session": ("create_session", signed_up, "/sessions", "sessionId"),
}


@pytest.mark.parametrize("case", CASES)
async def test_record_is_shown_without_an_id_that_is_a_card_number(tmp_path: Path, case: str) -> None:
    tool, prepare, path, place = CASES[case]
    arguments: dict[str, Any] = {"purpose": "cards"} if tool == "create_session" else {}
    if tool == "list_deposits":
        arguments = {"scope": "all"}
    async with caller(tmp_path) as c:
        await prepare(c)
        for written in writings():
            steps = [{"op": "replace", "path": "/data/transactions", "value": [TRANSACTION]}] * (
                path == "/transactions"
            )
            steps += [{"op": "add", "path": f"/data/{place}", "value": written}]
            await c.control("/faults/clear")
            await c.control("/faults", kind="patch", path=path, exact=True, patch=steps, calls=100)
            found = await c.call(tool, **arguments)
            assert "code" not in found, found
            assert written not in json.dumps(found)
            assert written[-12:] not in json.dumps(found)
            if "cursor" in case:
                assert found["incomplete"] is True
            elif tool.startswith("list"):
                assert len(next(found[name] for name in ("transactions", "cards", "deposits") if name in found)) == 1


@pytest.mark.parametrize("field", ["card_id", "deposit_id", "cursor"])
def test_card_number_is_no_argument_for_an_id(field: str) -> None:
    for tool in TOOLS:
        if field in tool.input_model.model_fields:
            for written in writings():
                with pytest.raises(ToolError) as refused:
                    validate(tool, {"user_id": "user-1", field: written}, None)
                faults = {fault.field: fault.rule for fault in refused.value.fields}
                assert faults[field] == "must not look like a card number or a national id"


@pytest.mark.parametrize(
    "value",
    [
        "0b0e7a52-aaaa-4bbb-8ccc-1234567890ab",
        "txn-00000001",
        "cus_9s6XKzkNRiz8i3",
        "507f1f77bcf86cd799439011",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "1234567890123456",
        "MTAwMA==",
    ],
)
def test_usual_id_is_accepted(value: str) -> None:
    assert not is_sensitive_id(value)


def test_longer_number_that_contains_a_card_number_is_accepted() -> None:
    # An id can't be altered, and one in four numbers of twenty digits contains one.
    assert not is_sensitive_id(f"9{card_number()}999")
    assert is_sensitive_id("123-45-6789")
