"""No tool approves: every tool, listed or not, is called with the ids of waiting approvals, and none is granted.

The server can't tell a view's call from the model's, so this covers the views, too.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.client.extension import advertise
from mcp_types import Tool

from machines_mcp.protocol.apps import EXTENSION, MIME_TYPE
from machines_mcp.server.app import App, opened
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.tools.catalog import TOOLS
from tests.support.in_process import InProcessSandbox, in_process_sandbox
from tests.support.stdio_client import applicant

pytestmark = pytest.mark.anyio

USER = "ann"
CARD = {"user_id": USER, "limit_amount_cents": 5000, "limit_frequency": "per30DayPeriod"}
# A tool that a view could hope for.
INVENTED = (
    "approve",
    "approve_approval",
    "confirm_approval",
    "decide",
    "decide_approval",
    "grant",
    "grant_approval",
    "sign_in",
    "ui_approve",
    "machines_mcp_approve",
    "../approve",
    "",
)
# What a call that approves could say besides the id.
SAID: tuple[dict[str, Any], ...] = (
    {},
    {"decision": "approve"},
    {"approve": True, "approved": True, "granted": True, "confirm": True},
    {"action": "accept", "content": {"decision": "approve"}},
    {"answer": "yes", "passphrase": "", "token": "x", "by": "desk", "channel": "dialog"},
    {"state": "granted", "status": "approved", "verdict": "run"},
    {"_meta": {"ui": {"approve": True}}, "wait_seconds": 0},
)
NAMES = ("approval_id", "id", "approvalId", "request_id", "confirmation_id")


@asynccontextmanager
async def served(folder: Path, mode: str) -> AsyncIterator[tuple[App, Client, InProcessSandbox]]:
    settings = read_settings({"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder)})
    views = [advertise(EXTENSION, {"mimeTypes": [MIME_TYPE]})]
    async with (
        in_process_sandbox() as sandbox,
        opened(settings, embedded=sandbox) as app,
        Client(app.server(), mode=mode, extensions=views) as client,
    ):
        yield app, client, sandbox


async def requested(app: App, client: Client, sandbox: InProcessSandbox) -> tuple[dict[str, str], str]:
    """Return a waiting approval of each kind by tool, and the id of the user's card."""

    async def waiting(tool: str, **given: Any) -> str:
        (text, *_) = (await client.call_tool(tool, given)).content
        found = json.loads(getattr(text, "text", ""))
        assert found["code"] == "approval.required", found
        return str(found["approval_id"])

    await client.call_tool("create_session", {"user_id": USER, "purpose": "kyc"})
    await client.call_tool("resolve_user", {"user_id": USER})
    ids = {"submit_kyc": await waiting("submit_kyc", user_id=USER)}
    person = await waiting("submit_kyc", user_id=USER, **applicant())
    await app.guard.approvals.grant(person, "desk")
    await client.call_tool("submit_kyc", {"user_id": USER, **applicant(), "approval_id": person})
    ids["accept_agreements"] = await waiting("accept_agreements", user_id=USER)
    await sandbox.client().agreements.accept(USER)
    made = await waiting("create_card", **CARD)
    await app.guard.approvals.grant(made, "desk")
    card = (await client.call_tool("create_card", {**CARD, "approval_id": made})).structured_content or {}
    one = {"user_id": USER, "card_id": card["card_id"]}
    ids["create_card"] = await waiting("create_card", **CARD, label="Trip")
    ids["update_card"] = await waiting("update_card", **one, limit_amount_cents=9000, limit_frequency="per30DayPeriod")
    ids["close_card"] = await waiting("close_card", **one)
    ids["reveal_card"] = await waiting("reveal_card", **one, sink="page")
    return ids, str(card["card_id"])


async def states(app: App, ids: Mapping[str, str]) -> set[str]:
    """Return the states of the approvals."""
    found = {approval.id: approval.shown_state for approval in await app.guard.approvals.recent(500)}
    return {found[approval_id] for approval_id in ids.values()}


def calls(tool: Tool | None, ids: Mapping[str, str], card_id: str) -> Iterator[dict[str, Any]]:
    """Yield arguments for a tool: the ids under each plausible name, alone and beside arguments that fit it."""
    fitting = {} if tool is None else fitted(tool.input_schema["properties"], card_id)
    own = ids.get("" if tool is None else tool.name)
    for said in SAID:
        for approval_id in [own] if own else list(ids.values())[:1]:
            yield {**dict.fromkeys(NAMES, approval_id), **said}
            yield {"approval_id": approval_id, **fitting, **said}
            yield {**dict.fromkeys(fitting, approval_id), "approval_id": approval_id, **said}
    for approval_id in ids.values():
        yield {**fitting, "approval_id": approval_id}


def fitted(properties: Mapping[str, Any], card_id: str) -> dict[str, Any]:
    """Return a value for each property that fits its type."""
    known = {"user_id": USER, "card_id": card_id, "approval_id": "", "wait_seconds": 0}
    of_type: dict[str, Any] = {"integer": 5000, "number": 50, "boolean": True, "string": "approve"}
    found = {
        name: known.get(name, schema.get("enum", [of_type.get(schema.get("type", ""), "approve")])[-1])
        for name, schema in properties.items()
    }
    found.pop("approval_id", None)
    return found


@pytest.mark.parametrize("mode", [pytest.param("legacy", marks=pytest.mark.check), "2026-07-28"])
async def test_no_call_of_any_tool_grants_a_waiting_approval(tmp_path: Path, mode: str) -> None:
    async with served(tmp_path, mode) as (app, client, sandbox):
        ids, card_id = await requested(app, client, sandbox)
        assert await states(app, ids) == {"waiting"}
        before = (await sandbox.client().cards.list(USER)).cards
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        # It withdraws, which is allowed, so it comes last.
        names = [*listed, *(tool.name for tool in TOOLS if tool.name not in listed), *INVENTED]
        for name in sorted(names, key=lambda name: name == "cancel_approval"):
            for given in calls(listed.get(name), ids, card_id):
                await client.call_tool(name, given)
            left = await states(app, ids)
            assert left <= ({"waiting", "withdrawn"} if name == "cancel_approval" else {"waiting"}), (name, left)
        after = (await sandbox.client().cards.list(USER)).cards
        assert [(card.card_id, card.status, card.limit) for card in after] == [
            (card.card_id, card.status, card.limit) for card in before
        ]


@pytest.mark.parametrize("mode", ["legacy", pytest.param("2026-07-28", marks=pytest.mark.check)])
async def test_no_address_of_a_view_grants_one_and_the_check_would_notice(tmp_path: Path, mode: str) -> None:
    async with served(tmp_path, mode) as (app, client, sandbox):
        ids, _ = await requested(app, client, sandbox)
        approval_id = ids["create_card"]
        for uri in ("ui://machines/approval", f"ui://machines/approval?approve={approval_id}", f"ui://{approval_id}"):
            await refused_or_read(client, uri)
        assert await states(app, ids) == {"waiting"}
        await app.guard.approvals.grant(approval_id, "desk")
        assert await states(app, ids) == {"waiting", "granted"}


async def refused_or_read(client: Client, uri: str) -> None:
    """Read a resource that may not exist."""
    try:
        await client.read_resource(uri)
    except MCPError:
        assert uri != "ui://machines/approval"
