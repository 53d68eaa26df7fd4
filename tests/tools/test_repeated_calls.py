"""The hint `idempotentHint` of every tool agrees with what a repeated call changes in the simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from machines_mcp.sandbox.state import State
from machines_mcp.tools.catalog import TOOLS
from tests.support.stdio_client import applicant
from tests.support.tool_caller import ToolCaller, caller

pytestmark = pytest.mark.anyio

# What clients' sessions and retries leave is no effect of a tool. Labels are encrypted anew each time.
_KEPT = {
    "users": "user_id, wallet_address, kyc_status, agreements_at",
    "cards": "card_id, status, limit_cents, limit_frequency, labels = '{}' AS plain",
    "deposits": "deposit_id",
    "withdrawals": "withdrawal_id",
    "entries": "entry_id, amount_cents",
}
TERMS = {"amount_cents": 1_000, "currency": "rusd", "network": "base", "address": "0x" + "1" * 40}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "create_session": {"purpose": "cards"},
    "cancel_approval": {"approval_id": "0" * 32},
    "resolve_user": {"wallet_address": "0x" + "2" * 40},
    "submit_kyc": applicant(),
    "quote_deposit": {"currency": "rusd", "network": "base", "amount": 25},
    "create_deposit": {"currency": "rusd", "network": "base", "amount": 25},
    "quote_withdrawal": TERMS,
    "get_withdrawal_transaction": {"withdrawal_id": "wd_" + "0" * 32},
    "confirm_withdrawal": {"withdrawal_id": "wd_" + "0" * 32, "transaction_hash": "0x" + "ab" * 32},
    "create_card": {"label": "Books", "limit_amount_cents": 2_000, "limit_frequency": "perYearPeriod"},
    "update_card": {"label": "Food", "limit_amount_cents": 2_500, "limit_frequency": "per7DayPeriod"},
}
FAILING = {
    "confirm_withdrawal": "not_found",
    "get_withdrawal_transaction": "not_found",
    "reveal_card": "reveal.failed",
    "cancel_approval": "not_found",
}
"""The vault can't reach a simulator in this process, and nothing waits; `test_cancel_approval.py` repeats that call."""
ELSEWHERE = {
    "quote_withdrawal": "each call makes another quote, in this server's state",
    "submit_kyc": "each application may start another check at the provider; the simulator decides at once",
}
"""Tools whose repeated calls change something that the simulator does not show."""


def _effects(state: State) -> list[tuple[object, ...]]:
    rows = (state.rows(f"SELECT {columns} FROM {table} ORDER BY 1") for table, columns in _KEPT.items())  # noqa: S608
    return [tuple(row) for found in rows for row in found]


async def _prepared(user: ToolCaller, tool: str) -> dict[str, Any]:
    """Return the arguments for a call of the tool, after the calls that must come before it."""
    if tool == "submit_kyc":
        return ARGUMENTS[tool]
    await user.approved()
    deposit = await user.call("create_deposit", currency="rusd", network="base", amount=100)
    await user.control("/deposits", depositId=deposit["deposit_id"])
    card = await user.call("create_card", limit_amount_cents=1_000, limit_frequency="per30DayPeriod")
    ids = {"card_id": card["card_id"], "deposit_id": deposit["deposit_id"]}
    if tool == "create_withdrawal":
        ids["quote_id"] = (await user.call("quote_withdrawal", **TERMS))["quote_id"]
    schemas = {each.name: each.input_schema for each in (await user.client.list_tools()).tools}
    required = {name: ids[name] for name in schemas[tool].get("required", ()) if name in ids}
    return required | ARGUMENTS.get(tool, {})


@pytest.mark.parametrize(
    "tool",
    # A reveal starts the vault's process.
    [pytest.param(tool, id=tool.name, marks=pytest.mark.check if tool.name == "reveal_card" else ()) for tool in TOOLS],
)
async def test_repeated_call_changes_nothing_more_if_the_tool_says_so(tmp_path: Path, tool: Any) -> None:
    async with caller(tmp_path) as user:
        arguments = await _prepared(user, tool.name)
        before = _effects(user.sandbox.state)
        answer = await user.call(tool.name, **arguments)
        assert answer.get("code") == FAILING.get(tool.name)
        once = _effects(user.sandbox.state)
        await user.call(tool.name, **arguments)
        twice = _effects(user.sandbox.state)
    assert not tool.read_only or before == once
    assert tool.idempotent is (once == twice and tool.name not in ELSEWHERE)


async def test_repeated_session_is_the_same_session(tmp_path: Path) -> None:
    async with caller(tmp_path) as user:
        first, second = [await user.call("create_session", purpose="kyc") for _ in range(2)]
    assert first["session_id"] == second["session_id"]
