"""Helpers for testing agents and this project: MCP clients over a simulator, and control of the simulator.

async with ready_user(balance_cents=100_00) as user:
    card = await user.call("create_card", limit_amount_cents=50_00, limit_frequency="per30DayPeriod")
    assert (await user.simulator.spend(card["card_id"], 12_00)).approved

See docs/testing.md and the docstrings for the details, with shapes and units.
"""

from __future__ import annotations

from machines_mcp.testing.blocking import BlockingSimulator, BlockingUser, blocking_user
from machines_mcp.testing.clients import Answer, Era, client, decide, set_passphrase
from machines_mcp.testing.simulators import FaultKind, KycDecision, NotTaken, Simulator, Spend, simulator
from machines_mcp.testing.users import CallFailed, ReadyUser, ready_user

__all__ = [
    "Answer",
    "BlockingSimulator",
    "BlockingUser",
    "CallFailed",
    "Era",
    "FaultKind",
    "KycDecision",
    "NotTaken",
    "ReadyUser",
    "Simulator",
    "Spend",
    "blocking_user",
    "client",
    "decide",
    "ready_user",
    "set_passphrase",
    "simulator",
]
