"""A call that makes something and ran a short time ago: person and model learn that this makes a second one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from machines_mcp.cli.approvals import format_approval, waiting_approvals
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.earlier_calls import RECENT_SECONDS
from machines_mcp.server.app import opened
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.testing import decide
from machines_mcp.tools.catalog import TOOLS
from tests.support.approver import FakeApprover
from tests.support.interrupted import state
from tests.support.stdio_client import ERAS, Era, ToolError, agent, applicant
from tests.support.tool_caller import ToolCaller, caller

pytestmark = pytest.mark.anyio

CARD = {"limit_amount_cents": 5_000, "limit_frequency": "per30DayPeriod", "label": "Books"}
SAME = "The same card was made 2 minutes ago"


def age(folder: Path, seconds: int) -> None:
    """Let this much time have passed since every approval."""
    with state(folder) as db:
        db.execute("UPDATE approvals SET created_at = created_at - ?, started_at = started_at - ?", (seconds, seconds))


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder), "MACHINES_USER_ID": "tool-user"} | more


async def approved(c: ToolCaller, folder: Path, **arguments: Any) -> dict[str, Any]:
    """Return the result of a card that a person approved at the desk."""
    asked = await c.call("create_card", **arguments)
    assert asked["code"] == "approval.required"
    assert await decide(environment(folder), asked["approval_id"], yes=True) == "granted"
    made = await c.call("create_card", **arguments, approval_id=asked["approval_id"])
    return made | {"approval_id": asked["approval_id"]}


async def ready(c: ToolCaller, folder: Path) -> None:
    async with c.sandbox.client() as partner:
        await partner.users.resolve("tool-user")
        await c.control("/kyc", userId="tool-user", decision="approved")
        await partner.agreements.accept("tool-user")


async def test_person_and_model_learn_of_an_equal_card_and_both_ways_work(tmp_path: Path) -> None:
    async with caller(tmp_path, answer=None) as c:
        await ready(c, tmp_path)
        first = await approved(c, tmp_path, **CARD)
        assert "already_made" not in first
        age(tmp_path, 120)
        asked = await c.call("create_card", **CARD)
        assert asked["message"].startswith(f"{SAME}. A person must approve a second card")
        wait, get = asked["next_steps"]
        assert wait["arguments"]["approval_id"] == asked["approval_id"] != first["approval_id"]
        assert get["arguments"] == CARD | {"approval_id": first["approval_id"]}
        # The terminal shows what the desk shows.
        ((waiting,), _) = await waiting_approvals(read_settings(environment(tmp_path)))
        assert waiting.question.endswith("This would be a second one: the same card was made before.")
        assert "the same card was made 2 minutes ago" in format_approval(waiting)
        assert "approving makes a second card" in format_approval(waiting)
        # Asking again is the same request, although more time has passed.
        age(tmp_path, 60)
        assert (await c.call("create_card", **CARD))["approval_id"] == asked["approval_id"]
        # One way: the first card, and no second one.
        assert (await c.call(get["tool"], **get["arguments"]))["card_id"] == first["card_id"]
        assert len((await c.call("list_cards"))["cards"]) == 1
        # The other way: a second card, deliberately.
        assert await decide(environment(tmp_path), asked["approval_id"], yes=True) == "granted"
        second = await c.call(wait["tool"], **wait["arguments"])
        assert second["card_id"] != first["card_id"]
        assert second["already_made"].endswith("; this made a second one.")
        assert second["next_steps"][-1]["arguments"] == get["arguments"]
        assert len((await c.call("list_cards"))["cards"]) == 2


async def test_dialog_says_that_the_same_card_was_made(tmp_path: Path) -> None:
    person = FakeApprover()
    async with caller(tmp_path) as c:
        await c.approved()
        settings = environment(tmp_path)
        async with (
            opened(read_settings(settings), embedded=c.sandbox) as app,
            Client(app.server(), elicitation_callback=person) as client,
        ):
            again = ToolCaller(client, tmp_path, c.sandbox, "tool-user")
            await again.call("create_card", **CARD)
            age(tmp_path, 120)
            second = await again.call("create_card", **CARD)
    first_text, second_text = person.asked[-2:]
    assert "same card" not in first_text
    assert "This would be a second one: the same card was made before." in second_text
    assert "Again: the same card was made 2 minutes ago (approving makes a second card)" in second_text
    assert second["already_made"].startswith(SAME)


@pytest.mark.parametrize("change", [{"label": "Food"}, {"limit_amount_cents": 6_000}])
async def test_other_arguments_are_another_card(change: dict[str, Any], tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        await c.call("create_card", **CARD)
        assert "already_made" not in await c.call("create_card", **CARD | change)


async def test_card_of_another_user_or_of_long_ago_is_not_mentioned(tmp_path: Path) -> None:
    async with caller(tmp_path, None) as c:
        for user in ("ann", "bob"):
            for tool, arguments in (("resolve_user", {}), ("submit_kyc", applicant()), ("accept_agreements", {})):
                await c.call(tool, user_id=user, **arguments)
            assert "already_made" not in await c.call("create_card", user_id=user, **CARD)
        age(tmp_path, RECENT_SECONDS + 1)
        assert "already_made" not in await c.call("create_card", user_id="ann", **CARD)
        assert "already_made" in await c.call("create_card", user_id="ann", **CARD)


async def test_refused_and_failed_calls_made_nothing(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        await c.control("/faults", kind="status", status=400, path="/cards", method="POST", calls=1)
        assert "code" in await c.call("create_card", **CARD)
        async with caller(tmp_path, answer="decline", sandbox=c.sandbox) as refusing:
            assert (await refusing.call("create_card", **CARD))["code"] == "approval.refused"
        assert "already_made" not in await c.call("create_card", **CARD)


async def test_card_whose_outcome_is_unknown_may_exist(tmp_path: Path) -> None:
    async with caller(tmp_path, answer=None) as c:
        await ready(c, tmp_path)
        first = await approved(c, tmp_path, **CARD)
        with state(tmp_path) as db:
            db.execute("UPDATE approvals SET state = 'executing', outcome = NULL, owner = ''")
        asked = await c.call("create_card", **CARD)
        assert asked["message"].startswith(
            "The same card was requested less than a minute ago, and it is not known yet"
        )
        assert asked["next_steps"][1]["arguments"]["approval_id"] == first["approval_id"]
        ((waiting,), _) = await waiting_approvals(read_settings(environment(tmp_path)))
        assert waiting.question.endswith("The same card was requested before, and it may exist.")


async def test_result_of_an_equal_deposit_leads_to_the_first_one(tmp_path: Path) -> None:
    deposit = {"currency": "rusd", "network": "base", "amount": 100}
    async with caller(tmp_path) as c:
        await c.approved()
        first = await c.call("create_deposit", **deposit)
        assert "already_made" not in await c.call("create_deposit", **deposit | {"amount": 99})
        with state(tmp_path) as db:
            db.execute("UPDATE mutations SET created_at = created_at - 130")
        second = await c.call("create_deposit", **deposit)
        assert second["deposit_id"] != first["deposit_id"]
        assert second["already_made"] == "The same deposit was made 2 minutes ago; this made a second one."
        step = second["next_steps"][-1]
        assert (step["tool"], step["arguments"]) == ("get_deposit", {"deposit_id": first["deposit_id"]})
        assert "already_made" not in await c.call(step["tool"], **step["arguments"])
        with state(tmp_path) as db:
            db.execute("UPDATE mutations SET created_at = created_at - ?", (RECENT_SECONDS + 1,))
        assert "already_made" not in await c.call("create_deposit", **deposit)


async def test_deposit_that_needs_approval_says_it_once(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\nenvironment = "embedded"\n[classes]\nwrite = "ask"\n')
    policy.chmod(0o600)
    deposit = {"currency": "rusd", "network": "base"}
    async with caller(tmp_path, policy=policy) as c:
        await c.approved()
        first, second = [await c.call("create_deposit", **deposit) for _ in range(2)]
        assert "already_made" not in first
        assert second["already_made"].startswith("The same deposit was made less than a minute ago")
        assert [step["tool"] for step in second["next_steps"]] == ["get_deposit", "create_deposit"]


def test_every_call_that_can_make_a_second_one_says_what_it_makes() -> None:
    changing = {tool.name for tool in TOOLS if not tool.idempotent and not tool.read_only}
    # Machines has one identity check for each user.
    assert {tool.name for tool in TOOLS if tool.makes} == changing - {"submit_kyc"}
    assert not any(tool.makes for tool in TOOLS if tool.action_classes == (ActionClass.READ,))


@pytest.mark.process
@pytest.mark.parametrize("era", ERAS)
async def test_second_card_over_stdio(era: Era, tmp_path: Path) -> None:
    async with agent(tmp_path, era, dialog=False, MACHINES_USER_ID="tool-user") as a:
        await a.call("create_session", purpose="kyc")
        for tool, arguments in (("submit_kyc", applicant()), ("accept_agreements", {}), ("create_card", CARD)):
            first = await by_desk(a.call, tmp_path, tool, arguments)
        age(tmp_path, 120)
        with pytest.raises(ToolError, match=SAME) as asked:
            await a.call("create_card", CARD)
        get = asked.value.body["next_steps"][1]
        assert (await a.call(get["tool"], get["arguments"]))["card_id"] == first["card_id"]
        second = await by_desk(a.call, tmp_path, "create_card", CARD)
        assert second["already_made"].startswith(SAME)
        assert second["card_id"] != first["card_id"]


async def by_desk(call: Any, folder: Path, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a call that a person approves outside the client."""
    with pytest.raises(ToolError) as asked:
        await call(tool, arguments)
    approval_id = asked.value.body["approval_id"]
    assert await decide(environment(folder), approval_id, yes=True) == "granted"
    found: dict[str, Any] = await call(tool, arguments | {"approval_id": approval_id})
    return found
