"""Reconcile cards: a creation, change or closing whose response was lost is found again or repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from machines_mcp.partner import CardLimit
from machines_mcp.tools import services
from tests.support.interrupted import lose_response, short_reconciliation_wait, state, unresolved_call
from tests.support.tool_caller import ToolCaller, caller

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures(short_reconciliation_wait.__name__)]

USER = "tool-user"
CARDS = [
    {},
    {"label": "Groceries"},
    {"limit_amount_cents": 5000, "limit_frequency": "per24HourPeriod"},
    {"label": "Fuel", "limit_amount_cents": 5000, "limit_frequency": "allTime"},
]


async def cards(c: ToolCaller) -> list[dict[str, Any]]:
    return list((await c.call("list_cards"))["cards"])


async def create_foreign_card(c: ToolCaller, limit_cents: int | None = None, label: str | None = None) -> None:
    """Create a card that this server does not know."""
    async with c.sandbox.client() as client:
        limit = CardLimit(amount_cents=limit_cents, frequency="allTime") if limit_cents else None
        name = await client.encryption.encrypt(USER, label) if label else None
        await client.cards.create(USER, encrypted_name=name, limit=limit)


@pytest.mark.parametrize("honoured", [True, False], ids=["keys", "no-keys"])
@pytest.mark.parametrize("done", [True, False], ids=["made", "not-made"])
@pytest.mark.parametrize("card", CARDS, ids=lambda card: "+".join(card) or "plain")
async def test_one_card_is_created_whatever_happened_to_the_request(
    tmp_path: Path, card: dict[str, Any], done: bool, honoured: bool
) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        # An equal card, which it could be confused with.
        other = (await c.call("create_card", **card))["card_id"]
        await c.control("/keys", honoured=honoured)
        await lose_response(c, "/cards", done=done)
        approval = await unresolved_call(c, "create_card", **card)
        assert len(await cards(c)) == (2 if done else 1)
        found = await c.call("create_card", **card, approval_id=approval)
        assert found["card_id"] != other
        assert {name: found.get(name) for name in card} == card
        assert found["next_steps"][0]["tool"] == "reveal_card"
        assert {each["card_id"] for each in await cards(c)} == {other, found["card_id"]}
        assert await c.call("create_card", **card, approval_id=approval) == found
        assert (await c.call("status"))["unresolved"] == []


async def test_card_of_a_killed_server_is_found_by_the_next(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        await lose_response(c, "/cards", done=True)
        approval = await unresolved_call(c, "create_card")
        async with caller(tmp_path, sandbox=c.sandbox) as later:
            found = await later.call("create_card", approval_id=approval)
        assert [each["card_id"] for each in await cards(c)] == [found["card_id"]]


async def test_label_identifies_a_card_among_similar_ones(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        await lose_response(c, "/cards", done=True)
        approval = await unresolved_call(c, "create_card", label="Groceries")
        await create_foreign_card(c, label="Groceries")
        found = await c.call("create_card", label="Groceries", approval_id=approval)
        assert found["card_id"] == (await cards(c))[1]["card_id"]
        assert len(await cards(c)) == 2


async def test_ambiguous_card_needs_a_person(tmp_path: Path) -> None:
    card = {"limit_amount_cents": 700, "limit_frequency": "allTime"}
    async with caller(tmp_path) as c:
        await c.approved()
        await lose_response(c, "/cards", done=True)
        approval = await unresolved_call(c, "create_card", **card)
        await create_foreign_card(c, 700)
        for _ in range(2):
            error = await c.call("create_card", **card, approval_id=approval)
            assert (error["code"], error["retryable"]) == ("outcome.unknown", False)
            assert "doctor --resolve" in error["message"]
        assert len(await cards(c)) == 2
        (shown,) = (await c.call("status"))["unresolved"]
        assert (shown["approval_id"], shown["status"]) == (approval, "needs_person")
        assert "doctor --resolve" in shown["what_to_do"]


async def test_card_from_before_the_request_is_not_matched(tmp_path: Path) -> None:
    card = {"limit_amount_cents": 700, "limit_frequency": "allTime"}
    async with caller(tmp_path) as c:
        await c.approved()
        await create_foreign_card(c, 700)
        (before,) = await cards(c)
        await lose_response(c, "/cards", done=False)
        approval = await unresolved_call(c, "create_card", **card)
        with state(tmp_path) as db:
            db.execute("UPDATE mutations SET sent_at = sent_at + 3600 WHERE state = 'unknown'")
        found = await c.call("create_card", **card, approval_id=approval)
        assert found["card_id"] != before["card_id"]
        assert len(await cards(c)) == 2


async def test_missing_card_is_neither_recreated_nor_denied_too_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "RECONCILE_SECONDS", 3600.0)
    async with caller(tmp_path) as c:
        await c.approved()
        card = (await c.call("create_card"))["card_id"]
        await lose_response(c, "/cards", done=False)
        await lose_response(c, f"/cards/{card}", done=False, method="DELETE")
        calls = [("create_card", {}), ("close_card", {"card_id": card})]
        asked = [(tool, arguments, await unresolved_call(c, tool, **arguments)) for tool, arguments in calls]
        for tool, arguments, approval in asked:
            error = await c.call(tool, **arguments, approval_id=approval)
            assert (error["code"], error["retryable"]) == ("outcome.unknown", True)
            assert 3500 < error["retry_after_seconds"] <= 3600
        assert [each["status"] for each in await cards(c)] == ["active"]


@pytest.mark.parametrize(("hours", "made"), [(22.9, 1), (23.1, 0)])
async def test_request_is_not_repeated_after_23_hours(tmp_path: Path, hours: float, made: int) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        await lose_response(c, "/cards", done=False)
        approval = await unresolved_call(c, "create_card")
        with state(tmp_path) as db:
            back = (hours * 3600, hours * 3600)
            db.execute("UPDATE mutations SET sent_at = sent_at - ?, last_sent_at = last_sent_at - ?", back)
        answer = await c.call("create_card", approval_id=approval)
        assert answer.get("code") == (None if made else "outcome.unknown")
        assert len(await cards(c)) == made


async def test_second_lost_response_is_reconciled_too(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        await c.control("/keys", honoured=False)
        await lose_response(c, "/cards", done=False)
        approval = await unresolved_call(c, "create_card")
        await lose_response(c, "/cards", done=True)
        found = await c.call("create_card", approval_id=approval)
        assert [each["card_id"] for each in await cards(c)] == [found["card_id"]]


@pytest.mark.parametrize("done", [True, False])
async def test_card_change_is_read_back(tmp_path: Path, done: bool) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        card = (await c.call("create_card"))["card_id"]
        change = {"card_id": card, "limit_amount_cents": 900, "limit_frequency": "allTime"}
        await lose_response(c, f"/cards/{card}", done=done, method="PATCH")
        approval = await unresolved_call(c, "update_card", **change)
        assert (await cards(c))[0].get("limit_amount_cents") == (900 if done else None)
        # If nothing happened, the grant is still valid and the same call executes it.
        found = await c.call("update_card", **change, approval_id=approval)
        assert (found["card_id"], found["limit_amount_cents"]) == (card, 900)
        assert (await cards(c))[0]["limit_amount_cents"] == 900


@pytest.mark.parametrize("done", [True, False])
async def test_card_closing_is_read_back(tmp_path: Path, done: bool) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        card = (await c.call("create_card"))["card_id"]
        await lose_response(c, f"/cards/{card}", done=done, method="DELETE")
        approval = await unresolved_call(c, "close_card", card_id=card)
        assert (await cards(c))[0]["status"] == ("canceled" if done else "active")
        found = await c.call("close_card", card_id=card, approval_id=approval)
        assert (found["card_id"], found["status"]) == (card, "canceled")
        assert (await cards(c))[0]["status"] == "canceled"
