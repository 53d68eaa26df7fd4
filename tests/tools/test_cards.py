"""Cards: limits, labels, and the fields they never have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tool_caller import caller

pytestmark = pytest.mark.anyio


async def test_limit_needs_both_amount_and_period(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        for half in ({"limit_amount_cents": 100}, {"limit_frequency": "allTime"}):
            error = await c.call("create_card", **half)
            assert error["code"] == "input.invalid"
            assert "go together" in error["fields"][0]["rule"]
        for cents in (0, -1, 100_000_001, 1.5, True, "ten"):
            error = await c.call("create_card", limit_amount_cents=cents, limit_frequency="allTime")
            assert [fault["field"] for fault in error["fields"]] == ["limit_amount_cents"], cents


async def test_labels_round_trip_and_reach_the_api_encrypted(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        labels = ["Groceries", "Café ☕ 東京", "x" * 60]
        for label in labels:
            assert (await c.call("create_card", label=label))["label"] == label
        await c.call("create_card")
        listed = await c.call("list_cards")
        assert sorted(card.get("label", "") for card in listed["cards"]) == sorted([*labels, ""])
        assert b"Groceries" not in c.sandbox.state.db.serialize()


async def test_list_continues_after_its_page(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        made = {(await c.call("create_card", label=f"card {n}"))["card_id"] for n in range(5)}
        seen: list[str] = []
        page = await c.call("list_cards", limit=2)
        while True:
            seen += [card["card_id"] for card in page["cards"]]
            if "next_cursor" not in page:
                break
            step = page["next_steps"][0]
            page = await c.call(step["tool"], limit=2, **step["arguments"])
        assert sorted(seen) == sorted(made)


async def test_repeated_approved_call_returns_the_first_card(tmp_path: Path) -> None:
    async with caller(tmp_path, answer=None) as c:
        asked = await c.call("submit_kyc", **_kyc())
        assert asked["code"] == "approval.required"
        await _grant(tmp_path, asked["approval_id"])
        first = await c.call("submit_kyc", **_kyc(), approval_id=asked["approval_id"])
        assert first["status"] == "approved"
        agreed = await c.call("accept_agreements")
        await _grant(tmp_path, agreed["approval_id"])
        assert (await c.call("accept_agreements", approval_id=agreed["approval_id"]))["accepted"] is True

        wish = {"limit_amount_cents": 100, "limit_frequency": "allTime"}
        waiting = await c.call("create_card", **wish)
        again = await c.call("create_card", **wish)
        assert again["approval_id"] == waiting["approval_id"]
        await _grant(tmp_path, waiting["approval_id"])
        changed = await c.call("create_card", **wish | {"limit_amount_cents": 200}, approval_id=waiting["approval_id"])
        assert changed["code"] == "approval.mismatch"
        cards = [await c.call("create_card", **wish, approval_id=waiting["approval_id"]) for _ in range(3)]
        assert len({card["card_id"] for card in cards}) == 1
        assert len((await c.call("list_cards"))["cards"]) == 1


def _kyc() -> dict[str, str]:
    from tests.support.stdio_client import applicant

    return applicant()


async def _grant(folder: Path, approval_id: str) -> None:
    """Approve from outside the server, as `machines-mcp approve` does."""
    from machines_mcp.testing import decide

    assert await decide({"MACHINES_STATE_DIR": str(folder)}, approval_id) == "granted"
