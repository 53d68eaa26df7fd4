"""Results of tools as views get them: from an embedded server in this process, with a client that has no dialog."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mcp import Client

from machines_mcp.server.app import opened
from machines_mcp.server.settings_reader import read_settings
from tests.support.in_process import in_process_sandbox
from tests.support.stdio_client import applicant

USER = "ann"
Result = dict[str, Any]


async def view_results(folder: Path) -> dict[str, Result]:
    """Return results by name: of approvals, of the identity check, and of cards."""
    found: dict[str, Result] = {}
    settings = read_settings({"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder)})
    async with (
        in_process_sandbox() as sandbox,
        opened(settings, embedded=sandbox) as app,
        Client(app.server(), mode="2026-07-28") as client,
    ):

        async def call(tool: str, **given: Any) -> Result:
            answer = await client.call_tool(tool, given)
            return answer.model_dump(mode="json", by_alias=True, exclude_none=True)

        async def approved(tool: str, **given: Any) -> Result:
            waiting = json.loads((await call(tool, **given))["content"][0]["text"])
            await app.guard.approvals.grant(waiting["approval_id"], "desk")
            return await call(tool, **given, approval_id=waiting["approval_id"])

        async def decided(decision: str) -> Result:
            await sandbox.control("/kyc", userId=USER, decision=decision)
            return await call("get_kyc_status", user_id=USER)

        found["nothing"] = await call("status")
        await call("create_session", user_id=USER, purpose="kyc")
        found["resolved"] = await call("resolve_user", user_id=USER)
        found["form"] = await call("submit_kyc", user_id=USER)
        found["submitted"] = await approved("submit_kyc", user_id=USER, **applicant("Waiting"))
        found["verify"] = await decided("needs_verification")
        found["denied"] = await decided("denied")
        found["passed"] = await decided("approved")
        found["agreed"] = await approved("accept_agreements", user_id=USER)
        trip = {"limit_amount_cents": 15_000, "limit_frequency": "per30DayPeriod", "label": "Groceries"}
        found["card"] = await approved("create_card", user_id=USER, **trip)
        card = {"user_id": USER, "card_id": found["card"]["structuredContent"]["card_id"]}
        found["locked"] = await call("update_card", **card, status="locked")
        other = await approved("create_card", user_id=USER, limit_amount_cents=2_000, limit_frequency="per24HourPeriod")
        found["cards"] = await call("list_cards", user_id=USER)
        gone = other["structuredContent"]["card_id"]
        found["closed"] = await approved("close_card", user_id=USER, card_id=gone)
        found["required"] = await call(
            "create_card", user_id=USER, limit_amount_cents=5_000, limit_frequency="per7DayPeriod", label="Trip"
        )
        found["page"] = await call("reveal_card", **card, sink="page")
        found["status"] = await call("status")
        found["no_card"] = await call("get_card", user_id=USER, card_id="0" * 8)
    return found
