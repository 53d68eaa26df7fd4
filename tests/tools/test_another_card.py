"""A card with other last digits than the person saw is neither closed nor shown, whichever process runs the call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from machines_mcp.testing import decide
from tests.support.tool_caller import caller

pytestmark = pytest.mark.anyio

POLICY = """version = 1
environment = "embedded"
[reveal]
sinks = ["none", "page", "model"]
model = true
[cards]
unbounded = true
"""
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("close_card", {}),
    ("reveal_card", {"sink": "model"}),
    ("update_card", {"status": "active"}),
    ("update_card", {"limit_amount_cents": 100, "limit_frequency": "allTime"}),
]


@pytest.mark.parametrize(("tool", "arguments"), CALLS, ids=str)
async def test_card_with_other_digits_than_the_person_saw_is_left_alone(
    tmp_path: Path, tool: str, arguments: dict[str, Any]
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    policy.chmod(0o600)
    settings = {"MACHINES_STATE_DIR": str(tmp_path), "MACHINES_POLICY": str(policy)}
    async with caller(tmp_path, answer=None, policy=policy) as c:
        async with c.sandbox.client() as partner:
            await partner.users.resolve("tool-user")
            await c.control("/kyc", userId="tool-user", decision="approved")
            await partner.agreements.accept("tool-user")
            card_id = (await partner.cards.create("tool-user")).card_id
            await partner.cards.update("tool-user", card_id, status="locked")
        asked = await c.call(tool, card_id=card_id, **arguments)
        assert await decide(settings, asked["approval_id"], yes=True) == "granted"
        patch = [{"op": "replace", "path": "/data/last4", "value": "0000"}]
        await c.control("/faults", kind="patch", path="/cards/{cardId}", method="GET", patch=patch, calls=100)
        async with caller(tmp_path, answer=None, policy=policy, sandbox=c.sandbox) as later:
            told = await later.call(tool, card_id=card_id, **arguments, approval_id=asked["approval_id"])
        assert told["code"] == "approval.expired"
        assert "changed since the person was asked" in told["message"]
        await c.control("/faults/clear")
        async with c.sandbox.client() as partner:
            now = await partner.cards.get("tool-user", card_id)
        assert (now.status, now.limit) == ("locked", None)
