"""Nobody is asked for what can be known to be wrong: a change of a closed card, or one after which all is as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.in_process import in_process_sandbox
from tests.support.tool_caller import ToolCaller, caller

pytestmark = pytest.mark.anyio

LIMIT = {"limit_amount_cents": 5000, "limit_frequency": "per30DayPeriod"}
OTHER = {"limit_amount_cents": 6000, "limit_frequency": "per30DayPeriod"}
OTHER_PERIOD = {"limit_amount_cents": 5000, "limit_frequency": "per7DayPeriod"}
UNLOCK, LOCK = {"status": "active"}, {"status": "locked"}

CLOSED: list[tuple[str, dict[str, Any]]] = [
    ("close_card", {}),
    ("reveal_card", {"sink": "page"}),
    ("update_card", UNLOCK),
    ("update_card", OTHER),
    ("update_card", UNLOCK | LIMIT),
    ("update_card", LOCK | OTHER),
    ("update_card", UNLOCK | {"label": "Fuel"}),
]
SAME: list[tuple[str, dict[str, Any], set[str]]] = [
    ("active", UNLOCK, {"status"}),
    ("active", LIMIT, {"limit_amount_cents"}),
    ("active", UNLOCK | LIMIT, {"status", "limit_amount_cents"}),
    ("locked", LIMIT, {"limit_amount_cents"}),
    ("locked", LOCK | LIMIT, {"status", "limit_amount_cents"}),
]
CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("locked", UNLOCK | OTHER, ": unlock it and change its limit from $50.00 per 30 days to $60.00 per 30 days?"),
    ("locked", UNLOCK, ": unlock it with a limit of $50.00 per 30 days?"),
    ("locked", UNLOCK | LIMIT, ": unlock it with a limit of $50.00 per 30 days?"),
    ("active", UNLOCK | OTHER, ": keep it unlocked and change its limit from $50.00 per 30 days to $60.00"),
    ("active", OTHER_PERIOD, "to $50.00 per week?"),
    (
        "active",
        UNLOCK | {"label": "Fuel"},
        ": keep it unlocked with a limit of $50.00 per 30 days and change its label?",
    ),
    ("active", LOCK | LIMIT, ": lock it and keep its limit of $50.00 per 30 days?"),
    ("locked", LOCK | OTHER, ": keep it locked and change its limit from $50.00 per 30 days to $60.00 per 30 days?"),
]


async def card_with_status(c: ToolCaller, status: str) -> dict[str, Any]:
    """Return a card with this status, whose changes nobody has been asked about."""
    await c.approved()
    card = {"card_id": (await c.call("create_card", **LIMIT))["card_id"]}
    if status == "canceled":
        await c.call("close_card", **card)
    elif status == "locked":
        await c.call("update_card", **card, **LOCK)
    return card


async def error_of_an_undecided_call(folder: Path, status: str, tool: str, change: dict[str, Any]) -> dict[str, Any]:
    """Return the error of a call that nobody decides, with `waiting`: the questions that wait after it."""
    async with in_process_sandbox() as sandbox:
        async with caller(folder, sandbox=sandbox) as c:
            card = await card_with_status(c, status)
        async with caller(folder, sandbox=sandbox, answer=None) as c:
            error = await c.call(tool, **card, **change)
            return error | {"waiting": (await c.call("status"))["waiting"]}


@pytest.mark.parametrize(
    ("tool", "change"), CLOSED, ids=lambda value: "+".join(value) if isinstance(value, dict) else value
)
async def test_nobody_is_asked_about_a_closed_card(tmp_path: Path, tool: str, change: dict[str, Any]) -> None:
    error = await error_of_an_undecided_call(tmp_path, "canceled", tool, change)
    assert (error["code"], error["waiting"]) == ("input.invalid", [])
    assert [fault["field"] for fault in error["fields"]] == ["card_id"]
    assert error["next_steps"][0]["tool"] == "list_cards"


@pytest.mark.parametrize(("status", "change", "fields"), SAME)
async def test_nobody_is_asked_for_what_the_card_has(
    tmp_path: Path, status: str, change: dict[str, Any], fields: set[str]
) -> None:
    error = await error_of_an_undecided_call(tmp_path, status, "update_card", change)
    assert (error["code"], error["waiting"]) == ("input.invalid", [])
    assert {fault["field"] for fault in error["fields"]} == fields


@pytest.mark.parametrize(("status", "change", "words"), CHANGES)
async def test_question_tells_a_change_from_what_stays(
    tmp_path: Path, status: str, change: dict[str, Any], words: str
) -> None:
    error = await error_of_an_undecided_call(tmp_path, status, "update_card", change)
    assert error["code"] == "approval.required"
    assert words in error["waiting"][0]["question"]


async def test_lock_is_never_refused_as_needless(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        card = await card_with_status(c, "locked")
        assert (await c.call("update_card", **card, **LOCK))["status"] == "locked"


async def test_lock_of_a_locked_card_is_asked_for_if_the_policy_says_so(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\nenvironment = "embedded"\n[classes]\nwrite = "ask"\n[cards]\nunbounded = true\n')
    policy.chmod(0o600)
    async with in_process_sandbox() as sandbox:
        async with caller(tmp_path / "first", sandbox=sandbox) as c:
            card = await card_with_status(c, "locked")
        async with caller(tmp_path / "second", sandbox=sandbox, answer=None, policy=policy) as c:
            await c.call("update_card", **card, **LOCK)
            (waiting,) = (await c.call("status"))["waiting"]
    assert waiting["question"].endswith(": keep it locked?")
