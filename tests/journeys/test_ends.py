"""Calls that a person, the policy or the server's settings stop before the goal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest

from tests.journeys.environment import TERMS, Environment, environment
from tests.journeys.walker import Answer, Wait, Walker, WastedCall, no_event
from tests.support.known_users import introduce
from tests.support.stdio_client import applicant

pytestmark = pytest.mark.anyio

CARD = {"label": "Books", "limit_amount_cents": 5000, "limit_frequency": "per30DayPeriod"}
MADE = {"status": "active", "brand": "VISA"}
POLICY = """
version = 1
environment = "embedded"

[tools]
close_card = "deny"

[cards.max_limit_cents]
per30DayPeriod = 1_000
"""


@pytest.fixture(scope="module")
async def no_dialog(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Environment]:
    """Return a server whose client has no dialog, so that a person decides elsewhere."""
    async with environment(tmp_path_factory.mktemp("quiet"), dialog=False) as found:
        yield found


@asynccontextmanager
async def with_policy(folder: Path) -> AsyncIterator[Environment]:
    policy = folder / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")
    policy.chmod(0o600)
    async with environment(folder / "state", MACHINES_POLICY=str(policy)) as g:
        g.begin()
        await g.prepare_user()
        yield g


def walker(g: Environment, meanwhile: Wait = no_event, **more: Any) -> Walker:
    return Walker(g.client, applicant() | CARD | TERMS | {"amount": 100, "user_id": g.user} | more, meanwhile)


def decide_when_asked(g: Environment, *, yes: bool) -> Wait:
    async def decide(answer: Answer) -> None:
        await g.decide(answer, yes=yes)

    return decide


async def test_pending_call_continues_after_approval(no_dialog: Environment) -> None:
    no_dialog.begin()
    await no_dialog.prepare_user()
    walk = walker(no_dialog, decide_when_asked(no_dialog, yes=True))
    await walk.walk("create_card", MADE)
    assert (walk.calls, walk.waits) == (["create_card", "create_card"], 1)


async def test_pending_call_is_continued_without_another_approval(no_dialog: Environment) -> None:
    no_dialog.begin()
    await no_dialog.prepare_user()
    waiting = await no_dialog.request_approval("create_card", **CARD)
    walk = walker(no_dialog)
    with pytest.raises(WastedCall, match="no end"):
        # No one decides, and each response says to wait for them, with the same id.
        await walk.walk("create_card", MADE)
    assert set(walk.calls) == {"create_card"} and walk.waits == len(walk.calls)
    assert waiting == await no_dialog.request_approval("create_card", **CARD)


async def test_rejection_ends_the_journey(no_dialog: Environment) -> None:
    no_dialog.begin()
    await no_dialog.prepare_user()
    walk = walker(no_dialog, decide_when_asked(no_dialog, yes=False))
    answer = await walk.walk("create_card", MADE)
    assert (walk.calls, answer["code"]) == (["create_card", "create_card"], "approval.refused")
    assert "unless they want it" in answer["message"]


async def test_expired_approval_is_requested_again(no_dialog: Environment) -> None:
    no_dialog.begin()
    await no_dialog.prepare_user()
    late = await no_dialog.request_approval("create_card", **CARD)
    no_dialog.write("UPDATE approvals SET expires_at = 1 WHERE id = ?", late)
    walk = walker(no_dialog, decide_when_asked(no_dialog, yes=True))
    await walk.walk("create_card", MADE, approval_id=late)
    assert (walk.calls, walk.waits) == (["create_card"] * 3, 1)


async def test_approval_of_other_terms_is_not_used(no_dialog: Environment) -> None:
    no_dialog.begin()
    await no_dialog.prepare_user(funded=True)
    first = await no_dialog.request_approval("create_withdrawal", quote_id=await no_dialog.quote())
    walk = walker(no_dialog, decide_when_asked(no_dialog, yes=True), quote_id=await no_dialog.quote())
    answer = await walk.walk("create_withdrawal", {"status": "ready"}, approval_id=first)
    assert (walk.calls, walk.waits, answer["status"]) == (["create_withdrawal"] * 3, 1, "ready")


async def test_policy_limit_ends_the_journey_and_is_named(tmp_path: Path) -> None:
    async with with_policy(tmp_path) as g:
        walk = walker(g)
        answer = await walk.walk("create_card", MADE)
        assert walk.calls == ["create_card"]
        assert (answer["code"], answer["limit"]) == ("policy.denied", "cards.max_limit_cents.per30DayPeriod")
        walk = walker(g)
        answer = await walk.walk("close_card", {}, card_id=await g.card())
        assert (walk.calls, answer["code"], answer["class"]) == (["close_card"], "policy.denied", "destroy")
        assert "tell the user" in answer["message"] and g.person.asked == []


async def test_read_only_server_ends_the_journey_with_a_reason(tmp_path: Path) -> None:
    async with environment(tmp_path, MACHINES_READ_ONLY="true") as g:
        g.begin()
        walk = walker(g)
        answer = await walk.walk("create_card", MADE)
        assert (walk.calls, answer["code"]) == (["create_card"], "policy.denied")
        assert "MACHINES_READ_ONLY" in answer["message"]
        begun = walker(g)
        answer = await begun.walk("status", MADE)
        assert begun.calls == ["status"]
        assert {each["action"]: each["rule"] for each in answer["permissions"]}["money"] == "deny"


@pytest.mark.parametrize(
    ("toolsets", "begins", "calls", "absent"),
    [
        ("cards", "create_card", "create_card", "get_kyc_status"),
        ("funding", "create_deposit", "create_deposit", "get_kyc_status"),
        ("cards", "status", "status list_cards", "get_kyc_status"),
        ("funding", "status", "status get_balances list_deposit_assets", "get_kyc_status"),
        ("withdrawals", "status", "status list_withdrawal_assets", "get_kyc_status"),
        ("cards", "get_balances", "get_balances status list_cards", "get_kyc_status"),
    ],
)
async def test_missing_next_tool_is_named_and_ends_the_journey(
    toolsets: str, begins: str, calls: str, absent: str, tmp_path: Path
) -> None:
    async with environment(tmp_path, MACHINES_TOOLSETS=toolsets) as g:
        await introduce(g.env, g.begin())
        walk = walker(g)
        answer = await walk.walk(begins, MADE)
        assert (" ".join(walk.calls), answer["code"]) == (calls, "kyc.not_approved")
        assert absent in answer["message"] and "tell the user" in answer["message"]


async def test_server_without_funding_goes_from_agreements_to_the_card(tmp_path: Path) -> None:
    async with environment(tmp_path, MACHINES_TOOLSETS="onboarding,cards") as g:
        g.begin()
        await g.prepare_user(agreed=False)
        walk = walker(g)
        await walk.walk("create_card", MADE)
        assert walk.calls == ["create_card", "get_agreements", "accept_agreements", "create_card"]


async def test_three_rejections_start_a_cooldown_that_ends_the_journey(tmp_path: Path) -> None:
    async with environment(tmp_path) as g:
        g.begin()
        await g.prepare_user()
        g.person.answer = "decline"
        ends = []
        for cents in (1, 2, 3, 4):
            walk = walker(g, limit_amount_cents=cents)
            answer = await walk.walk("create_card", MADE)
            ends.append((walk.calls, answer["code"]))
        assert ends == [(["create_card"], "approval.refused")] * 3 + [(["create_card"], "policy.denied")]
        assert answer["cooldown_until"] in answer["message"]
        assert len(g.person.asked) == 3


async def test_pinned_server_takes_no_user_id(tmp_path: Path) -> None:
    async with environment(tmp_path, MACHINES_USER_ID="pinned") as g:
        g.begin()
        await g.prepare_user()
        walk = walker(g)
        del walk.data["user_id"]
        answer = await walk.walk("list_cards", MADE)
        assert walk.calls == ["list_cards", "create_card"] and answer["status"] == "active"


async def test_walker_detects_a_call_without_progress() -> None:
    """Without this check, every test in this module could pass although the walker is broken."""

    class Still:
        async def list_tools(self) -> Any:
            tool = type("T", (), {"name": "look", "input_schema": {"properties": {}}, "annotations": None})
            return type("L", (), {"tools": [tool]})

        async def call_tool(self, tool: str, arguments: dict[str, Any]) -> Any:
            text = '{"next_steps": [{"tool": "look", "arguments": {}}]}'
            return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=True)

    with pytest.raises(WastedCall, match="look once more"):
        await Walker(Still(), {}).walk("look", {"never": True})  # type: ignore[arg-type]
