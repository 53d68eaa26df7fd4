"""A change of a card changes nothing else in a way that lets it spend more: in the response, at Machines, and later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.interrupted import lose_response, short_reconciliation_wait, unresolved_call
from tests.support.tool_caller import ToolCaller, caller
from tests.tools.test_mismatched_responses import alarms

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures(short_reconciliation_wait.__name__)]

USER = "tool-user"
LIMIT = {"limit_amount_cents": 5000, "limit_frequency": "per30DayPeriod"}
HIGHER = {"limit_amount_cents": 6000, "limit_frequency": "per30DayPeriod"}
LABEL = {"label": "Fuel"}
ASKING = '[classes]\nwrite = "ask"\n'
# A status before, one in the response of a change that does not ask for one, and whether a person must know.
STATUSES: list[tuple[str, Any, bool]] = [
    ("locked", "active", True),
    ("locked", "not_activated", True),
    ("locked", "suspended", True),
    ("locked", None, True),
    ("locked", "", True),
    ("locked", 7, True),
    ("locked", "locked", False),
    ("locked", "canceled", False),
    ("not_activated", "active", True),
    ("not_activated", "not_activated", False),
    ("not_activated", "locked", False),
    ("suspended", "active", True),
    ("suspended", "suspended", False),
    ("active", "active", False),
    ("active", "locked", False),
    ("active", "not_activated", False),
    ("active", "canceled", False),
    ("active", "suspended", False),
    ("active", None, False),
]
OTHER_LIMITS: list[Any] = [
    None,
    {"amountCents": 9_000_000, "frequency": "per30DayPeriod"},
    {"amountCents": 5000, "frequency": "perAuthorization"},
]
# Changes that leave the limit, those that leave the status, and those that leave both.
KEEP_LIMIT: list[dict[str, Any]] = [LABEL, {"status": "active"}, {"status": "locked"} | LABEL]
KEEP_STATUS: list[dict[str, Any]] = [HIGHER, HIGHER | LABEL, LABEL]


def asking(folder: Path) -> Path:
    """Return a policy under which a person approves every change, so that each is reconciled."""
    path = folder / "policy.toml"
    path.write_text(f'version = 1\nenvironment = "embedded"\n{ASKING}[cards]\nunbounded = true\n')
    path.chmod(0o600)
    return path


async def show(c: ToolCaller, method: str, field: str, value: Any, calls: int = 1) -> None:
    """Change a field of the next responses about a card."""
    patch = [{"op": "replace", "path": f"/data/{field}", "value": value}]
    await c.control("/faults", kind="patch", path="/cards/{cardId}", method=method, patch=patch, calls=calls)


async def new_card(c: ToolCaller, *, locked: bool = True) -> dict[str, Any]:
    await c.approved()
    card = {"card_id": (await c.call("create_card", **LIMIT))["card_id"]}
    if locked:
        await c.call("update_card", **card, status="locked")
    return card


async def needs_a_person(c: ToolCaller, arguments: dict[str, Any], approval: str) -> None:
    for _ in range(2):
        again = await c.call("update_card", **arguments, approval_id=approval)
        assert (again["code"], again["retryable"]) == ("outcome.unknown", False)
        assert "Nothing was done" not in again["message"]
    (shown,) = (await c.call("status"))["unresolved"]
    assert shown["status"] == "needs_person"


@pytest.mark.parametrize(("before", "found", "unknown"), STATUSES)
@pytest.mark.parametrize("change", KEEP_STATUS, ids="+".join)
async def test_response_with_a_status_that_spends_more_is_no_success(
    tmp_path: Path, change: dict[str, Any], before: str, found: Any, unknown: bool
) -> None:
    async with caller(tmp_path) as c:
        card = await new_card(c, locked=before != "active")
        await show(c, "GET", "status", before, calls=10)
        await show(c, "PATCH", "status", found)
        answer = await c.call("update_card", **card | change)
        assert answer.get("code") == ("outcome.unknown" if unknown else None)
        if not unknown:
            assert answer.get("status") == found
    assert alarms(tmp_path) == ["response.mismatch:PATCH.cards.cardId:status"] * unknown


@pytest.mark.parametrize("limit", OTHER_LIMITS, ids=str)
@pytest.mark.parametrize("change", KEEP_LIMIT, ids="+".join)
async def test_response_with_another_limit_is_no_success(tmp_path: Path, change: dict[str, Any], limit: Any) -> None:
    async with caller(tmp_path) as c:
        card = await new_card(c)
        if change.get("status") == "locked":
            await c.call("update_card", **card, status="active")
        await show(c, "PATCH", "limit", limit)
        assert (await c.call("update_card", **card | change))["code"] == "outcome.unknown"
    assert len(alarms(tmp_path)) == 1


async def test_a_card_is_locked_whatever_else_the_response_shows(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        card = await new_card(c, locked=False)
        await show(c, "GET", "cardId", "", calls=10)
        await show(c, "PATCH", "limit", OTHER_LIMITS[1])
        locked = await c.call("update_card", **card, status="locked")
        assert (locked["status"], locked["limit_amount_cents"]) == ("locked", 9_000_000)


@pytest.mark.parametrize("change", KEEP_STATUS, ids="+".join)
async def test_card_that_was_unlocked_unasked_needs_a_person(tmp_path: Path, change: dict[str, Any]) -> None:
    async with caller(tmp_path, policy=asking(tmp_path)) as c:
        card = await new_card(c)
        await show(c, "PATCH", "status", "active")
        error = await c.call("update_card", **card | change)
        assert error["code"] == "outcome.unknown"
        await show(c, "GET", "status", "active", calls=100)
        await needs_a_person(c, card | change, error["approval_id"])
    assert len(alarms(tmp_path)) == 1


async def test_card_with_another_limit_after_a_new_label_needs_a_person(tmp_path: Path) -> None:
    async with caller(tmp_path, policy=asking(tmp_path)) as c:
        card = await new_card(c)
        await show(c, "PATCH", "limit", OTHER_LIMITS[1])
        error = await c.call("update_card", **card | LABEL)
        await show(c, "GET", "limit", OTHER_LIMITS[1], calls=100)
        await needs_a_person(c, card | LABEL, error["approval_id"])


@pytest.mark.parametrize("change", KEEP_STATUS, ids="+".join)
async def test_card_that_is_still_locked_has_the_change(tmp_path: Path, change: dict[str, Any]) -> None:
    async with caller(tmp_path, policy=asking(tmp_path)) as c:
        card = await new_card(c)
        await show(c, "PATCH", "status", "active")
        error = await c.call("update_card", **card | change)
        made = await c.call("update_card", **card | change, approval_id=error["approval_id"])
        assert made["status"] == "locked"
        assert {name: made[name] for name in change} == change


async def test_own_later_unlock_explains_the_status(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        card = await new_card(c)
        await lose_response(c, "/cards/" + card["card_id"], done=True, method="PATCH")
        approval = await unresolved_call(c, "update_card", **card | HIGHER)
        assert (await c.call("update_card", **card, status="active"))["status"] == "active"
        made = await c.call("update_card", **card | HIGHER, approval_id=approval)
        assert (made["status"], made["limit_amount_cents"]) == ("active", 6000)


async def test_unlock_that_the_journal_does_not_know_explains_nothing(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        card = await new_card(c)
        await lose_response(c, "/cards/" + card["card_id"], done=True, method="PATCH")
        approval = await unresolved_call(c, "update_card", **card | HIGHER)
        async with c.sandbox.client() as client:
            await client.cards.update(USER, card["card_id"], status="active")
        await needs_a_person(c, card | HIGHER, approval)


async def test_own_lock_does_not_explain_an_unlocked_card(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        card = await new_card(c)
        await show(c, "PATCH", "status", "active")
        approval = (await c.call("update_card", **card | HIGHER))["approval_id"]
        await c.call("update_card", **card, status="locked")
        await show(c, "GET", "status", "active", calls=100)
        await needs_a_person(c, card | HIGHER, approval)
