"""Changes of a card: the person sees the state before and after, and limits judge what the card may spend after it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from machines_mcp.partner import CardLimit, PartnerClient
from machines_mcp.partner.vocabulary import LimitFrequency
from machines_mcp.server.app import opened
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.testing import Era
from tests.support.approver import FakeApprover
from tests.support.in_process import in_process_sandbox
from tests.support.results import object_text

pytestmark = pytest.mark.anyio

USER = "card-holder"
PERIOD: LimitFrequency = "per30DayPeriod"
ERAS: tuple[Era, ...] = ("legacy", "2026-07-28")
both_eras = pytest.mark.parametrize("era", ERAS)


@dataclass
class CardHolder:
    """A client for a user with a card, the person at its dialogs, and the user's account at Machines."""

    client: Client
    person: FakeApprover
    partner: PartnerClient
    card_id: str

    async def update(self, **change: Any) -> dict[str, Any]:
        """Update the card, and return the result or the error."""
        answer = await self.client.call_tool("update_card", {"card_id": self.card_id, **change})
        return dict(json.loads(object_text(answer)))

    async def set_limit(self, cents: int, period: LimitFrequency = PERIOD) -> None:
        await self.partner.cards.update(USER, self.card_id, limit=CardLimit(amount_cents=cents, frequency=period))


@asynccontextmanager
async def card_holder(
    folder: Path, cents: int | None, *, status: str = "locked", most: int | None = None, era: Era = "2026-07-28"
) -> AsyncIterator[CardHolder]:
    """Yield a user with a card of this limit and status, under a policy with a highest limit of `most`."""
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder / "state"), "MACHINES_USER_ID": USER}
    if most is not None:
        policy = folder / "policy.toml"
        limits = f"[cards.max_limit_cents]\n{PERIOD} = {most}\nper7DayPeriod = {most}\n"
        policy.write_text(f'version = 1\nenvironment = "embedded"\n{limits}')
        policy.chmod(0o600)
        env["MACHINES_POLICY"] = str(policy)
    person = FakeApprover()
    async with (
        in_process_sandbox() as sandbox,
        opened(read_settings(env), embedded=sandbox) as app,
        sandbox.client() as partner,
        Client(app.server(), mode=era, elicitation_callback=person) as client,
    ):
        await partner.users.resolve(USER)
        await sandbox.control("/kyc", userId=USER, decision="approved")
        await partner.agreements.accept(USER)
        limit = None if cents is None else CardLimit(amount_cents=cents, frequency=PERIOD)
        card = await partner.cards.create(USER, limit=limit)
        if status == "locked":
            await partner.cards.update(USER, card.card_id, status="locked")
        yield CardHolder(client, person, partner, card.card_id)


@both_eras
async def test_a_change_is_shown_before_and_after(tmp_path: Path, era: Era) -> None:
    async with card_holder(tmp_path, 5_000, era=era) as holder:
        changed = await holder.update(
            status="active", limit_amount_cents=10_000, limit_frequency="per7DayPeriod", label="Food"
        )
        assert (changed["status"], changed["limit_amount_cents"]) == ("active", 10_000)
        again = await holder.update(limit_amount_cents=20_000, limit_frequency="per7DayPeriod", label="Drinks")
        assert again["label"] == "Drinks"
    first, second = holder.person.asked
    assert "Limit: $50.00 per 30 days → $100.00 per week\n" in first
    assert "Status: locked → active\n" in first
    assert "Label: “Food” (from the agent)\n" in first
    assert "Limit: $100.00 per week → $200.00 per week\n" in second
    assert "Status: active\n" in second
    assert "Label: “Food” → “Drinks” (from the agent)\n" in second


@both_eras
async def test_a_new_cards_limit_is_shown_once(tmp_path: Path, era: Era) -> None:
    async with card_holder(tmp_path, 5_000, era=era) as holder:
        for limit in ({}, {"limit_amount_cents": 2_500, "limit_frequency": "allTime"}):
            made = json.loads(object_text(await holder.client.call_tool("create_card", limit)))
            assert made["status"] == "active"
    without, limited = holder.person.asked
    assert "with no limit?" in without and "\nLimit: no limit\n" in without
    assert "with a limit of $25.00 in total?" in limited and "\nLimit: $25.00 in total\n" in limited


@both_eras
@pytest.mark.parametrize(
    "change", [{"status": "active"}, {"status": "active", "label": "Food"}], ids=["unlock", "unlock and relabel"]
)
async def test_unlocking_names_the_limit_in_the_question(tmp_path: Path, era: Era, change: dict[str, Any]) -> None:
    async with card_holder(tmp_path, 15_000, most=20_000, era=era) as holder:
        assert (await holder.update(**change))["status"] == "active"
    question = holder.person.asked[0].splitlines()[0]
    assert "unlock it with a limit of $150.00 per 30 days" in question


@pytest.mark.parametrize(
    ("cents", "change", "limit"),
    [
        (9_000_000, {"status": "active"}, f"cards.max_limit_cents.{PERIOD}"),
        (9_000_000, {"status": "active", "label": "Food"}, f"cards.max_limit_cents.{PERIOD}"),
        (None, {"status": "active"}, "cards.unbounded"),
        (
            100,
            {"limit_amount_cents": 20_001, "limit_frequency": "per7DayPeriod"},
            "cards.max_limit_cents.per7DayPeriod",
        ),
        (
            100,
            {"status": "active", "limit_amount_cents": 20_001, "limit_frequency": PERIOD},
            f"cards.max_limit_cents.{PERIOD}",
        ),
        (
            100,
            {"status": "locked", "limit_amount_cents": 20_001, "limit_frequency": PERIOD},
            f"cards.max_limit_cents.{PERIOD}",
        ),
    ],
    ids=[
        "unlock",
        "unlock and relabel",
        "unlock a card without a limit",
        "raise the limit of a locked card",
        "unlock and raise the limit",
        "lock and raise the limit",
    ],
)
async def test_limits_judge_what_the_card_may_spend_after_the_change(
    tmp_path: Path, cents: int | None, change: dict[str, Any], limit: str
) -> None:
    async with card_holder(tmp_path, cents, most=20_000) as holder:
        refused = await holder.update(**change)
        assert (refused["code"], refused["limit"]) == ("policy.denied", limit)
        assert holder.person.asked == []
        assert (await holder.partner.cards.get(USER, holder.card_id)).status == "locked"


@pytest.mark.parametrize(
    "change",
    [
        {"status": "locked"},
        {"label": "Food"},
        {"limit_amount_cents": 20_000, "limit_frequency": PERIOD},
        {"status": "active", "limit_amount_cents": 20_000, "limit_frequency": PERIOD},
    ],
    ids=["lock", "relabel", "lower the limit", "lower the limit and unlock"],
)
async def test_a_card_above_the_limit_can_be_locked_relabelled_and_lowered(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    async with card_holder(tmp_path, 9_000_000, most=20_000) as holder:
        assert "code" not in await holder.update(**change)


@both_eras
async def test_a_limit_that_changes_after_the_question_is_not_unlocked(tmp_path: Path, era: Era) -> None:
    async with card_holder(tmp_path, 15_000, most=20_000, era=era) as holder:

        async def raise_it() -> None:
            await holder.set_limit(9_000_000)

        holder.person.during = raise_it
        refused = await holder.update(status="active")
        assert refused["code"] == "approval.expired"
        assert "changed since the person was asked" in refused["message"]
        assert refused["next_steps"][0]["tool"] == "update_card"
        assert (await holder.partner.cards.get(USER, holder.card_id)).status == "locked"


@both_eras
@pytest.mark.parametrize("label", [{}, {"label": "Food"}], ids=["limit", "limit and label"])
async def test_a_card_that_is_unlocked_after_the_question_keeps_its_limit(
    tmp_path: Path, era: Era, label: dict[str, Any]
) -> None:
    async with card_holder(tmp_path, 5_000, era=era) as holder:

        async def unlock() -> None:
            await holder.partner.cards.update(USER, holder.card_id, status="active")

        holder.person.during = unlock
        refused = await holder.update(limit_amount_cents=15_000, limit_frequency=PERIOD, **label)
        assert refused["code"] == "approval.expired"
        assert "changed since the person was asked" in refused["message"]
        limit = (await holder.partner.cards.get(USER, holder.card_id)).limit
        assert limit is not None and limit.amount_cents == 5_000


async def test_closing_shows_status_limit_and_label(tmp_path: Path) -> None:
    async with card_holder(tmp_path, 15_000, status="active") as holder:
        await holder.update(label="Food")
        holder.person.answer = "decline"
        await holder.client.call_tool("close_card", {"card_id": holder.card_id})
    (closing,) = holder.person.asked
    for row in ("Status: active", "Limit: $150.00 per 30 days", "Label: “Food” (from the agent)"):
        assert f"{row}\n" in closing


@both_eras
async def test_a_locked_card_offers_to_unlock_or_close_it_and_no_complete_unlock(tmp_path: Path, era: Era) -> None:
    async with card_holder(tmp_path, 5_000, era=era) as holder:
        got = json.loads(object_text(await holder.client.call_tool("get_card", {"card_id": holder.card_id})))
        locked = await holder.update(status="locked")
    for answer in (got, locked):
        offered = {step["tool"]: step for step in answer["next_steps"]}
        assert "if it was found" in offered["update_card"]["why"]
        assert "if it is lost" in offered["close_card"]["why"]
        assert offered["close_card"]["arguments"] == offered["update_card"]["arguments"] == {"card_id": holder.card_id}
    assert holder.person.asked == []
