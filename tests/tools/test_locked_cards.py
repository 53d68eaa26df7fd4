"""The desk's list of cards that the agent locked: one approval unlocks those that a person ticks, each exactly once."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client

from machines_mcp.partner import CardLimit
from machines_mcp.server.app import App, opened
from machines_mcp.server.settings_reader import read_settings
from tests.support.approver import FakeApprover
from tests.support.in_process import InProcessSandbox, in_process_sandbox
from tests.support.results import object_text
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

USER = "user-1"
TICK = re.compile(r'name="(lock-[0-9a-f]{32})" value="([0-9a-f]{64})"')


@dataclass
class Person:
    """A person at the desk of a server, whose agent is `client`."""

    app: App
    client: Client
    sandbox: InProcessSandbox
    home: str
    http: httpx.AsyncClient
    cards: list[str] = field(default_factory=list)

    async def lock(self, *cards: str) -> None:
        for card_id in cards:
            answer = await self.client.call_tool("update_card", {"card_id": card_id, "status": "locked"})
            assert json.loads(object_text(answer))["status"] == "locked"

    async def page(self, path: str = "locked") -> str:
        answer = await self.http.get(f"{self.home}{path}", headers={"Sec-Fetch-Site": "none"})
        assert answer.status_code == 200
        return answer.text

    async def post(self, page: str, *, only: int | None = None, **more: str) -> str:
        """Send the page's form with each box ticked (or the first `only`), and return the page that it leads to."""
        ticked = dict(TICK.findall(page)[:only])
        (token,) = re.findall(r'action="[^"]*/locked"[^>]*>\s*<input type="hidden" name="token" value="([^"]+)"', page)
        origin = self.home.split("/", 3)
        headers = {"Origin": f"{origin[0]}//{origin[2]}", "Sec-Fetch-Site": "same-origin"}
        answer = await self.http.post(f"{self.home}locked", data={"token": token, **ticked, **more}, headers=headers)
        return answer.text if answer.status_code != 303 else await self.page()

    async def status(self) -> list[str | None]:
        async with self.sandbox.client() as partner:
            return [(await partner.cards.get(USER, card_id)).status for card_id in self.cards]

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.app.store.folder / "state.db")) as db:
            return db.execute(query).fetchall()

    def unlocks(self) -> Counter[str]:
        """Count the unlocks that were sent, by state."""
        body = """SELECT state FROM mutations WHERE json_extract(body, '$.status') = 'active'"""
        return Counter(row[0] for row in self.rows(body))


def said(page: str) -> str:
    return " ".join(re.findall(r'<p class="(?:said|fault)"[^>]*>([^<]*)</p>', page))


@asynccontextmanager
async def desk_of(folder: Path, sandbox: InProcessSandbox, user: str = USER, policy: str = "") -> AsyncIterator[Person]:
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder), "MACHINES_USER_ID": user}
    if policy:
        path = folder.with_suffix(".toml")
        path.write_text(f'version = 1\nenvironment = "embedded"\n{policy}')
        path.chmod(0o600)
        env["MACHINES_POLICY"] = str(path)
    async with (
        opened(read_settings(env), embedded=sandbox) as app,
        Client(app.server(), elicitation_callback=FakeApprover()) as client,
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http,
    ):
        yield Person(app, client, sandbox, str(await app.desk_address()), http)


@asynccontextmanager
async def person(folder: Path, number: int = 2, policy: str = "") -> AsyncIterator[Person]:
    """Yield a person whose agent has cards with a limit and a label."""
    async with in_process_sandbox() as sandbox, desk_of(folder / "state", sandbox, policy=policy) as found:
        async with sandbox.client() as partner:
            await partner.users.resolve(USER)
            await sandbox.control("/kyc", userId=USER, decision="approved")
            await partner.agreements.accept(USER)
            limit = CardLimit(amount_cents=5_000, frequency="per30DayPeriod")
            found.cards += [(await partner.cards.create(USER, limit=limit)).card_id for _ in range(number)]
        yield found


async def test_one_approval_unlocks_the_ticked_cards_and_leaves_the_others(tmp_path: Path) -> None:
    async with person(tmp_path, 3) as one:
        await one.client.call_tool("update_card", {"card_id": one.cards[0], "label": "Rent (from Machines)"})
        await one.lock(*one.cards)
        assert "Locked by the agent in the last 24 hours: 3 cards" in await one.page("")
        page = await one.page()
        assert page.count("$50.00 per 30 days") == 3
        assert re.search(r"Card ending [0-9]{4}", page)
        assert "<bdi>“Rent (from Machines)”</bdi> <small>from the agent</small>" in page
        after = await one.post(page, only=2)
        assert said(after) == "2 cards unlocked."
        # The newest lock comes first.
        assert await one.status() == ["locked", "active", "active"]
        assert len(TICK.findall(after)) == 1
        assert one.unlocks() == {"done": 2}
        audit = one.rows(
            "SELECT kind, verdict, code, decided_by FROM audit WHERE approval_id IN"
            " (SELECT undone_by FROM mutations WHERE undone_by IS NOT NULL) ORDER BY approval_id, seq"
        )
        assert [row[:3] for row in audit] == [
            ("decision", "granted", None),
            ("call", "executing", None),
            ("outcome", "done", "ok"),
        ] * 2
        assert {row[3] for row in audit} == {"desk"}


async def test_changes_of_the_agent_do_not_keep_a_person_from_unlocking(tmp_path: Path) -> None:
    rates = "[rates]\nmutations_per_hour = 2\ntotal.mutations_per_hour = 2\n"
    async with person(tmp_path, 2, rates) as one:
        await one.lock(*one.cards)
        for number in range(3):
            answer = await one.client.call_tool("update_card", {"card_id": one.cards[0], "label": f"{number}"})
        assert json.loads(object_text(answer))["limit"] == "rates.mutations_per_hour"
        assert said(await one.post(await one.page())) == "2 cards unlocked."
        assert await one.status() == ["active"] * 2


async def test_a_form_that_is_sent_twice_at_once_unlocks_each_card_once(tmp_path: Path) -> None:
    async with person(tmp_path, 3) as one:
        await one.lock(*one.cards)
        page, found = await one.page(), list[str]()

        async def send() -> None:
            found.append(said(await one.post(page)))

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(send)
        assert await one.status() == ["active"] * 3
        assert one.unlocks() == {"done": 3}
        again = said(await one.post(page))
        assert again.startswith("0 cards unlocked.") and again.count("left alone") == 3


async def test_a_card_that_others_unlocked_or_locked_meanwhile_is_left_alone(tmp_path: Path) -> None:
    async with person(tmp_path, 4) as one:
        async with one.sandbox.client() as partner:
            # Somebody else locked the last one before the agent did.
            await partner.cards.update(USER, one.cards[3], status="locked")
            await one.lock(*one.cards)
            page = await one.page()
            assert len(TICK.findall(page)) == 3
            await partner.cards.update(USER, one.cards[0], status="active")
            limit = CardLimit(amount_cents=9_000_000, frequency="allTime")
            await partner.cards.update(USER, one.cards[1], limit=limit)
        after = said(await one.post(page))
        assert after.startswith("1 card unlocked.")
        assert "it is no longer locked" in after and "its limit or number is not what was shown" in after
        assert await one.status() == ["active", "locked", "active", "locked"]


async def test_an_unlock_by_the_agent_takes_the_card_from_a_stale_list(tmp_path: Path) -> None:
    async with person(tmp_path, 1) as one:
        await one.lock(*one.cards)
        page = await one.page()
        await one.client.call_tool("update_card", {"card_id": one.cards[0], "status": "active"})
        async with one.sandbox.client() as partner:
            await partner.cards.update(USER, one.cards[0], status="locked")
        assert "locked by somebody else meanwhile" in said(await one.post(page))
        assert await one.status() == ["locked"]


async def test_only_a_card_that_was_active_or_unknown_before_is_listed(tmp_path: Path) -> None:
    async with person(tmp_path, 4) as one:
        await one.lock(*one.cards)
        states = dict(zip(one.cards, ("active", None, "suspended", "canceled"), strict=True))
        with closing(sqlite3.connect(one.app.store.folder / "state.db")) as db, db:
            for card_id, before in states.items():
                change = "UPDATE mutations SET before_status = ? WHERE json_extract(ids, '$.cardId') = ?"
                assert db.execute(change, (before, card_id)).rowcount == 1
        page = await one.page()
        assert len(TICK.findall(page)) == 2
        assert page.count("Its state before the agent locked it is unknown.") == 1
        assert "Locked by the agent in the last 24 hours: 2 cards" in await one.page("")


async def test_a_desk_of_another_user_or_policy_unlocks_nothing(tmp_path: Path) -> None:
    async with person(tmp_path, 1) as one:
        await one.lock(*one.cards)
        lock = {name: value for name, value in TICK.findall(await one.page())}
        async with desk_of(tmp_path / "state", one.sandbox, "user-2") as other:
            await other.client.call_tool("create_session", {"purpose": "kyc"})
            page = await other.page()
            assert not TICK.findall(page)
            assert not await other.app.desk._guard.channels.waiting()
            from machines_mcp.tools.locked_cards import LockedCardsService

            service = LockedCardsService(other.app.guard, other.app._person_calls)
            found = await service.unlock({name.removeprefix("lock-"): value for name, value in lock.items()})
            assert found[0] == "0 cards unlocked." and "left alone" in found[1]
        denying = '[classes]\nread = "allow"\nwrite = "allow"\nmoney = "deny"\n'
        async with desk_of(tmp_path / "state", one.sandbox, policy=denying) as denied:
            page = await denied.page()
            assert not TICK.findall(page) and "policy does not allow" in page
        assert await one.status() == ["locked"]
        assert one.unlocks() == {}


async def test_the_limits_of_the_policy_hold_for_each_card(tmp_path: Path) -> None:
    rules = "[cards]\nmax_limit_cents = { per30DayPeriod = 4_000 }\n"
    async with person(tmp_path, 1, rules) as one:
        await one.lock(*one.cards)
        after = said(await one.post(await one.page()))
        assert after.startswith("0 cards unlocked.") and "cards.max_limit_cents.per30DayPeriod" in after
        assert await one.status() == ["locked"]


async def test_a_frozen_user_keeps_the_cards_locked(tmp_path: Path) -> None:
    async with person(tmp_path, 1) as one:
        await one.lock(*one.cards)
        page = await one.page()
        await one.app.guard.freezes.freeze("terminal")
        assert said(await one.post(page)).startswith("0 cards unlocked.")
        assert (await one.status(), one.unlocks()) == (["locked"], {})


async def test_an_unlock_whose_response_is_lost_is_looked_up(tmp_path: Path) -> None:
    async with person(tmp_path, 1) as one:
        await one.lock(*one.cards)
        page = await one.page()
        await one.sandbox.control("/faults", kind="after", path="/cards/{cardId}", method="PATCH", calls=1)
        assert said(await one.post(page)) == "1 card unlocked."
        assert one.unlocks() == {"done": 1}


async def test_a_crash_half_way_is_reconciled_and_the_rest_can_be_unlocked(tmp_path: Path) -> None:
    async with person(tmp_path, 2) as one:
        await one.lock(*one.cards)
        page = await one.page()
        calls = one.app._person_calls()
        lock_id = dict(one.rows("SELECT json_extract(ids, '$.cardId'), id FROM mutations"))[one.cards[0]]
        unlock = {"card_id": one.cards[0], "status": "active"}
        call, details = await calls.prepare("update_card", USER, unlock, undoes=lock_id)
        # The process ends after the approval was used and before anything was sent.
        begun = await one.app.guard.approvals.open_granted(call.request, details, "desk")
        await one.app.guard.approvals.executions.release(begun.id)
        await one.app.reconcile()
        found = await one.app.guard.approvals.get(begun.id)
        assert found is not None and found.state == "failed"
        assert said(await one.post(page)) == "2 cards unlocked."
        assert await one.status() == ["active", "active"]


async def test_nothing_is_ticked(tmp_path: Path) -> None:
    async with person(tmp_path, 1) as one:
        assert "locked no card that is still locked" in await one.page()
        await one.lock(*one.cards)
        assert said(await one.post(await one.page(), only=0)) == "Tick the cards to unlock first."
