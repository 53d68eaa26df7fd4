"""Responses about something else, odd fields and every form of a salt, as the model sees them over stdio."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.sandbox.switches import SALT_FORMS
from machines_mcp.testing import Simulator, simulator
from tests.support.stdio_client import ERAS, Agent, agent
from tests.support.waiting import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.check]

LIMIT = {"limit_amount_cents": 5000, "limit_frequency": "per30DayPeriod"}
ALARMS = "SELECT code FROM audit WHERE kind = 'alarm'"
TERMS = {
    "amount_cents": 500,
    "currency": "rusd",
    "network": "base",
    "address": "0x" + "cd" * 20,
    "admin_address": "0x" + "7a" * 20,
}


@dataclass
class Home:
    """A server over stdio, its simulator and its state folder, with one funded user."""

    agent: Agent
    machines: Simulator
    folder: Path

    async def patch(self, path: str, method: str, field: str, value: Any, calls: int = 1) -> None:
        """Change one field of the next responses."""
        step = {"op": "replace", "path": f"/data/{field}", "value": value}
        await self.machines.fault(path, "patch", method=method, calls=calls, patch=[step])

    def column(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.folder / "embedded" / "state.db")) as db:
            return [value for (value,) in db.execute(query)]


@pytest.fixture(params=ERAS)
async def home(request: pytest.FixtureRequest, anyio_backend: str, tmp_path: Path) -> AsyncIterator[Home]:
    async with simulator(tmp_path) as machines, agent(tmp_path, request.param, who="user-1") as found:
        await found.to_funded()
        yield Home(found, machines, tmp_path)


async def test_response_about_something_else_is_unknown_and_raises_an_alarm(home: Home) -> None:
    await home.patch("/cards", "POST", "limit/amountCents", 9_000_000)
    assert (await home.agent.refusal("create_card", **LIMIT))[0] == "outcome.unknown"
    await home.patch("/sessions", "POST", "scopes", ["cards.read", "cards.secrets.read"])
    assert (await home.agent.refusal("list_cards"))[0] == "partner.malformed"
    (card,) = (await home.agent.call("list_cards"))["cards"]
    await home.patch("/cards/{cardId}", "GET", "cardId", "00000000-0000-4000-8000-000000000000")
    assert (await home.agent.refusal("get_card", card_id=card["card_id"]))[0] == "partner.malformed"
    assert card["limit_amount_cents"] == LIMIT["limit_amount_cents"]
    # Alarms are written as soon as possible, but not before the response.
    assert await eventually(lambda: len(home.column(ALARMS)) == 3)
    assert {code.partition(":")[0] for code in home.column(ALARMS)} == {"response.mismatch"}


async def test_change_that_also_unlocks_the_card_is_unknown_and_stays_so(home: Home) -> None:
    card = {"card_id": (await home.agent.call("create_card", LIMIT))["card_id"]}
    await home.agent.call("update_card", card, status="locked")
    higher = card | LIMIT | {"limit_amount_cents": 6000}
    await home.patch("/cards/{cardId}", "PATCH", "status", "active")
    assert (await home.agent.refusal("update_card", **higher))[0] == "outcome.unknown"
    await home.patch("/cards/{cardId}", "GET", "status", "active", calls=100)
    (approval_id,) = home.column("SELECT id FROM approvals WHERE state = 'executing'")
    assert (await home.agent.refusal("update_card", **higher, approval_id=approval_id))[0] == "outcome.unknown"
    assert await eventually(lambda: home.column(ALARMS) == ["response.mismatch:PATCH.cards.cardId:status"])


async def test_change_with_an_odd_field_is_the_result_without_it(home: Home) -> None:
    await home.patch("/cards", "POST", "last4", "")
    card = await home.agent.call("create_card", LIMIT)
    assert "last4" not in card
    await home.patch("/cards/{cardId}", "PATCH", "isPinned", None)
    locked = await home.agent.call("update_card", card_id=card["card_id"], status="locked")
    assert (locked["status"], len(locked["last4"])) == ("locked", 4)
    await home.patch("/cards", "GET", "cards/0", {"cardId": "", "status": "active", "last4": "12"})
    assert (await home.agent.call("list_cards"))["cards"] == [{"status": "active"}]
    await home.patch("/deposits", "POST", "deposit/createdAt", "")
    assert "created_at" not in await home.agent.call("create_deposit", currency="rusd", network="base", amount=5)


async def test_withdrawal_is_ready_with_a_salt_in_every_form(home: Home) -> None:
    for form in SALT_FORMS:
        await home.machines.order("/salts", form=form)
        quote = await home.agent.call("quote_withdrawal", TERMS)
        ready = await home.agent.call("create_withdrawal", quote_id=quote["quote_id"])
        assert ready["status"] == "ready", form
        await home.machines.execute_withdrawal("user-1")
    salts = [json.loads(text)["parameters"][5] for text in home.column("SELECT execution FROM withdrawals")]
    assert [type(salt) for salt in salts] == [str, str, list]
    assert (len(salts[2]), salts[1][:2]) == (32, "0x")
