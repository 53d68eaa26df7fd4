"""Withdrawals that Machines has signed, in a state folder."""

from __future__ import annotations

import time

from machines_mcp.storage.database import Store
from machines_mcp.storage.withdrawals import Withdrawals

TERMS = {
    "amount_cents": 2500, "currency": "rusd", "network": "base", "address": "0x" + "ef" * 20, "extra_id": None,
    "admin_address": "0x" + "7a" * 20, "source_chain_id": None, "source_token_address": None,
    "estimated_to_amount": 25.0,
}  # fmt: skip


async def signed_withdrawal(store: Store, user_id: str) -> str:
    """Add a signed withdrawal of a user, whose answer has nothing but its status, and return its id."""
    withdrawals = Withdrawals(store)
    begun = await withdrawals.begin(await withdrawals.quote(user_id, TERMS), None)
    assert begun is not None
    await withdrawals.record(begun, "ready", {"status": "ready"}, time.time() + 1000)
    return str(begun)
