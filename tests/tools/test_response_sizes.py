"""Each tool's response stays below the bound of the output filter, with the largest content that Machines may send."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import mcp_types as types
import pytest

from machines_mcp.partner.transport import MAX_BYTES
from machines_mcp.redaction.output_filter import MAX_LINE
from machines_mcp.tools.catalog import TOOLS
from tests.support.stdio_client import applicant
from tests.support.tool_caller import ToolCaller, caller
from tests.tools.test_withdrawals import ADDRESS, funded

pytestmark = pytest.mark.anyio

# Fields that hold free text or lists of choices. Ids are compared with the request, so they stay.
FREE = {"merchantName", "label", "text", "url", "name", "brand", "description", "regex", "reason", "icon"}
ENVELOPE = 600
TERMS = {"currency": "rusd", "network": "base"}
READS: dict[str, dict[str, Any]] = {
    "status": {},
    "list_users": {"limit": 100},
    "get_kyc_requirements": {},
    "get_kyc_status": {},
    "get_agreements": {},
    "list_deposit_assets": {"limit": 100},
    "quote_deposit": {**TERMS, "amount": 50},
    "list_deposits": {"scope": "all"},
    "get_deposit": {},
    "get_balances": {},
    "list_transactions": {"limit": 100},
    "list_withdrawal_assets": {"limit": 100},
    "quote_withdrawal": {**TERMS, "amount_cents": 500, "address": ADDRESS},
    "get_withdrawal_transaction": {"admin_nonce": "0"},
    "list_withdrawals": {"limit": 100},
    "list_cards": {"limit": 100},
    "get_card": {},
}


def inflated(data: Any, text: str, entries: int) -> Any:
    """Return the data with every list filled with copies of its entries, and every free text replaced."""
    if isinstance(data, dict):
        return {key: text if key in FREE and isinstance(found, str) else inflated(found, text, entries)
                for key, found in data.items()}  # fmt: skip
    if isinstance(data, list) and data:
        filled = [inflated(found, text, 3) for found in data]
        room = MAX_BYTES // 2 // (len(json.dumps(filled)) // len(filled) + 1)
        return (filled * entries)[: max(1, min(entries, room))]
    return data


@contextmanager
def upstream(c: ToolCaller, change: Callable[[Any], Any]) -> Iterator[None]:
    """Change the data of every response of the simulator's API, except of those that mint sessions."""
    transport = c.sandbox.http_transport
    assert transport is not None
    original = transport.handle_async_request

    async def send(request: httpx.Request) -> httpx.Response:
        response = await original(request)
        body = json.loads(await response.aread())
        if not request.url.path.endswith("/sessions") and isinstance(body.get("data"), dict):
            body["data"] = change(body["data"])
        return httpx.Response(response.status_code, json=body, request=request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "handle_async_request", send)
        yield


def line_length(answer: types.CallToolResult) -> int:
    """Return the length of the line that answers the call."""
    return len(answer.model_dump_json(by_alias=True, exclude_none=True)) + ENVELOPE


@pytest.mark.parametrize("text", ['"', "\U0001f600"], ids=["quote", "emoji"])
async def test_no_read_is_withheld_for_its_size(tmp_path: Path, text: str) -> None:
    assert READS.keys() == {tool.name for tool in TOOLS if tool.read_only}
    async with caller(tmp_path) as c:
        await funded(c)
        card = (await c.call("create_card", label="Food"))["card_id"]
        await c.control("/spend", cardId=card, amountCents=100, merchantName="Shop")
        deposit = (await c.call("list_deposits", scope="all"))["deposits"][0]["deposit_id"]
        given = READS | {"get_card": {"card_id": card}, "get_deposit": {"deposit_id": deposit}}
        quote = await c.call("quote_withdrawal", amount_cents=2_500, address=ADDRESS, **TERMS)
        made = await c.call("create_withdrawal", quote_id=quote["quote_id"])
        given["get_withdrawal_transaction"] = {"admin_nonce": "0", "withdrawal_id": made["withdrawal_id"]}
        longest = 0
        for size, entries in ((60, 3), (60, 150), (2_000, 40), (20_000, 5), (5, 20_000), (400_000, 1)):
            with upstream(c, partial(inflated, text=text * size, entries=entries)):
                for name, arguments in given.items():
                    answer = await c.client.call_tool(name, arguments)
                    longest = max(longest, line_length(answer))
                    assert line_length(answer) < MAX_LINE, (name, size, entries)
        assert longest > MAX_LINE // 2


async def test_a_list_that_is_too_long_says_so_and_how_to_get_the_rest(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        card = (await c.call("create_card", label="Food"))["card_id"]
        for _ in range(3):
            await c.control("/spend", cardId=card, amountCents=100, merchantName="Shop")

        with upstream(c, lambda data: inflated(data, '"' * 120, 1_000)):
            answer = await c.client.call_tool("list_transactions", {"limit": 100})
            assert answer.structured_content is not None
            listed = len(answer.structured_content["transactions"])
            step = answer.structured_content["next_steps"][0]
            assert 0 < listed < 1_000
            assert (step["tool"], step["arguments"]) == ("list_transactions", {"limit": min(listed, 100)})
            assert f"{1_000 - listed} more entries did not fit" in step["why"]
            assert f"{1_000 - listed} more entries are not listed." in str(answer.content[1])
            deposits = (await c.client.call_tool("list_deposits", {"scope": "all"})).structured_content or {}
            assert deposits["next_steps"][0]["tool"] != "list_deposits" or deposits["next_steps"][0]["why"]


async def test_no_error_is_withheld_for_its_size(tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [
        {f"{'y' * 40}{number}": "1" for number in range(20_000)},
        {"label": '"' * 1_000_000, "user_id": '"' * 1_000_000},
        {"types": ["nonsense"] * 50_000},
        {"card_id": {"deep": [[[]] * 10_000]}},
    ]
    async with caller(tmp_path) as c:
        for tool in TOOLS:
            for arguments in [*wrong, applicant() | {"occupation": '"' * 100_000}]:
                answer = await c.client.call_tool(tool.name, arguments)
                assert line_length(answer) < MAX_LINE // 8, tool.name


@pytest.mark.parametrize("size", [60, 1_000, 300_000])
async def test_no_change_is_withheld_for_the_size_of_its_response(tmp_path: Path, size: int) -> None:
    async with caller(tmp_path) as c:
        await funded(c)
        cards = [(await c.call("create_card", label="Food"))["card_id"] for _ in range(2)]
        quote = await c.call("quote_withdrawal", amount_cents=2_500, address=ADDRESS, **TERMS)
        with upstream(c, partial(inflated, text='"' * size, entries=1)):
            for name, arguments in {
                "create_session": {"purpose": "cards"},
                "resolve_user": {},
                "submit_kyc": applicant(),
                "accept_agreements": {},
                "create_deposit": {**TERMS, "amount": 50},
                "create_withdrawal": {"quote_id": quote["quote_id"]},
                "create_card": {"label": "Fuel"},
                "update_card": {"card_id": cards[0], "status": "locked"},
                "close_card": {"card_id": cards[1]},
            }.items():
                answer = await c.client.call_tool(name, arguments)
                assert line_length(answer) < MAX_LINE // 8, name
                assert "internal" not in str(answer.content[0]), name
