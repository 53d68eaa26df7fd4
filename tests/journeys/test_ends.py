"""Where a person, the policy or the server's own settings stand between a call and its goal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest

from tests.journeys.ground import TERMS, Ground, ground
from tests.journeys.stdio import applicant
from tests.journeys.walker import Answer, Wait, Walker, Wasted, nobody

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
async def quiet(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    """A server whose client has no dialog: a person decides elsewhere."""
    async with ground(tmp_path_factory.mktemp("quiet"), dialog=False) as found:
        yield found


@asynccontextmanager
async def with_policy(folder: Path) -> AsyncIterator[Ground]:
    policy = folder / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")
    policy.chmod(0o600)
    async with ground(folder / "state", MACHINES_POLICY=str(policy)) as g:
        g.begin()
        await g.standing()
        yield g


def walker(g: Ground, meanwhile: Wait = nobody, **more: Any) -> Walker:
    return Walker(g.client, applicant() | CARD | TERMS | {"amount": 100, "user_id": g.user} | more, meanwhile)


def says(g: Ground, *, yes: bool) -> Wait:
    async def decide(answer: Answer) -> None:
        await g.decides(answer, yes=yes)

    return decide


async def test_what_waits_for_a_person_goes_on_once_they_approved(quiet: Ground) -> None:
    quiet.begin()
    await quiet.standing()
    walk = walker(quiet, says(quiet, yes=True))
    await walk.walk("create_card", MADE)
    assert (walk.calls, walk.waits) == (["create_card", "create_card"], 1)


async def test_a_call_that_waits_already_is_taken_up_and_not_asked_anew(quiet: Ground) -> None:
    quiet.begin()
    await quiet.standing()
    waiting = await quiet.asks("create_card", **CARD)
    walk = walker(quiet)
    with pytest.raises(Wasted, match="no end"):
        # Nobody decides, and each answer says to wait for them, under the one id.
        await walk.walk("create_card", MADE)
    assert set(walk.calls) == {"create_card"} and walk.waits == len(walk.calls)
    assert waiting == await quiet.asks("create_card", **CARD)


async def test_a_no_is_an_end(quiet: Ground) -> None:
    quiet.begin()
    await quiet.standing()
    walk = walker(quiet, says(quiet, yes=False))
    answer = await walk.walk("create_card", MADE)
    assert (walk.calls, answer["code"]) == (["create_card", "create_card"], "approval.refused")
    assert "unless they want it" in answer["message"]


async def test_an_approval_that_came_too_late_is_asked_for_anew(quiet: Ground) -> None:
    quiet.begin()
    await quiet.standing()
    late = await quiet.asks("create_card", **CARD)
    quiet.write("UPDATE approvals SET expires_at = 1 WHERE id = ?", late)
    walk = walker(quiet, says(quiet, yes=True))
    await walk.walk("create_card", MADE, approval_id=late)
    assert (walk.calls, walk.waits) == (["create_card"] * 3, 1)


async def test_an_approval_of_other_terms_is_not_used_and_the_new_ones_are_asked_for(quiet: Ground) -> None:
    quiet.begin()
    await quiet.standing(funded=True)
    first = await quiet.asks("create_withdrawal", quote_id=await quiet.quote())
    walk = walker(quiet, says(quiet, yes=True), quote_id=await quiet.quote())
    answer = await walk.walk("create_withdrawal", {"status": "ready"}, approval_id=first)
    assert (walk.calls, walk.waits, answer["status"]) == (["create_withdrawal"] * 3, 1, "ready")


async def test_a_limit_of_the_policy_is_an_end_that_names_it(tmp_path: Path) -> None:
    async with with_policy(tmp_path) as g:
        walk = walker(g)
        answer = await walk.walk("create_card", MADE)
        assert walk.calls == ["create_card"]
        assert (answer["code"], answer["limit"]) == ("policy.denied", "cards.max_limit_cents.per30DayPeriod")
        walk = walker(g)
        answer = await walk.walk("close_card", {}, card_id=await g.card())
        assert (walk.calls, answer["code"], answer["class"]) == (["close_card"], "policy.denied", "destroy")
        assert "tell the user" in answer["message"] and g.person.asked == []


async def test_a_read_only_server_ends_what_it_does_not_do_and_says_so(tmp_path: Path) -> None:
    async with ground(tmp_path, MACHINES_READ_ONLY="true") as g:
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
async def test_a_server_that_lacks_the_next_tool_names_it_and_stops(
    toolsets: str, begins: str, calls: str, absent: str, tmp_path: Path
) -> None:
    async with ground(tmp_path, MACHINES_TOOLSETS=toolsets) as g:
        g.begin()
        walk = walker(g)
        answer = await walk.walk(begins, MADE)
        assert (" ".join(walk.calls), answer["code"]) == (calls, "kyc.not_approved")
        assert absent in answer["message"] and "tell the user" in answer["message"]


async def test_a_server_without_funding_goes_from_the_agreements_to_the_card(tmp_path: Path) -> None:
    async with ground(tmp_path, MACHINES_TOOLSETS="onboarding,cards") as g:
        g.begin()
        await g.standing(agreed=False)
        walk = walker(g)
        await walk.walk("create_card", MADE)
        assert walk.calls == ["create_card", "get_agreements", "accept_agreements", "create_card"]


async def test_what_was_refused_three_times_is_paused_and_that_is_an_end(tmp_path: Path) -> None:
    async with ground(tmp_path) as g:
        g.begin()
        await g.standing()
        g.person.answer = "decline"
        ends = []
        for cents in (1, 2, 3, 4):
            walk = walker(g, limit_amount_cents=cents)
            answer = await walk.walk("create_card", MADE)
            ends.append((walk.calls, answer["code"]))
        assert ends == [(["create_card"], "approval.refused")] * 3 + [(["create_card"], "policy.denied")]
        assert answer["paused_until"] in answer["message"]
        assert len(g.person.asked) == 3


async def test_a_pinned_server_takes_no_other_user_and_is_called_without(tmp_path: Path) -> None:
    async with ground(tmp_path, MACHINES_USER_ID="pinned") as g:
        g.begin()
        await g.standing()
        walk = walker(g)
        del walk.data["user_id"]
        answer = await walk.walk("list_cards", MADE)
        assert walk.calls == ["list_cards", "create_card"] and answer["status"] == "active"


async def test_the_walker_sees_a_call_that_brings_nothing_new() -> None:
    """What would let every test here pass if it were broken."""

    class Still:
        async def list_tools(self) -> Any:
            tool = type("T", (), {"name": "look", "input_schema": {"properties": {}}, "annotations": None})
            return type("L", (), {"tools": [tool]})

        async def call_tool(self, tool: str, arguments: dict[str, Any]) -> Any:
            text = '{"next_steps": [{"tool": "look", "arguments": {}}]}'
            return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=True)

    with pytest.raises(Wasted, match="look once more"):
        await Walker(Still(), {}).walk("look", {"never": True})  # type: ignore[arg-type]
