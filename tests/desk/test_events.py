"""Test that an open page learns what waits, that this is nobody's use of the session, and that it says no more."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from machines_mcp.desk.sessions import IDLE_SECONDS, Sessions
from tests.support.clock import Clock
from tests.support.running_desk import PASSPHRASE, FakeBrowser, RunningDesk, browser, running_desk
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

FETCHED = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}


@asynccontextmanager
async def stream(person: FakeBrowser) -> AsyncIterator[AsyncIterator[tuple[str, str]]]:
    """Open the stream as the page's script does, and yield its events by name and data."""

    async def events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, str]]:
        name = ""
        async for line in lines:
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            if line.startswith("data:"):
                yield name, line.removeprefix("data:").strip()

    with anyio.fail_after(PATIENCE):
        async with person.http.stream("GET", f"{person.home}/events", headers=FETCHED) as answer:
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            yield events(answer.aiter_lines())


async def waits(events: AsyncIterator[tuple[str, str]]) -> list[str]:
    name, data = await anext(events)
    assert name == "waiting"
    return list(json.loads(data)["waiting"])


async def test_an_open_page_is_told_of_each_new_request_and_decision(desk: RunningDesk, person: FakeBrowser) -> None:
    async with stream(person) as events:
        assert await waits(events) == []
        approval = await desk.ask()
        assert await waits(events) == [approval.id]
        await desk.guard.approvals.refuse(approval.id, "terminal")
        name, data = await anext(events)
        assert (name, json.loads(data)) == ("waiting", {"waiting": [], "states": {approval.id: "refused"}})


async def test_the_stream_names_no_user_amount_or_address(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await desk.ask()
    async with stream(person) as events:
        _, data = await anext(events)
    assert json.loads(data) == {"waiting": [approval.id], "states": {approval.id: "waiting"}}


async def test_the_lists_of_the_page_are_fetched_alone(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await desk.ask()
    page = await person.get("/waiting", **{name.replace("-", "_"): value for name, value in FETCHED.items()})
    assert f'id="a-{approval.id}"' in page.text and 'id="history"' in page.text and "<nav" not in page.text
    # The forms work as they are.
    path = f"/decisions/{approval.id}"
    assert (await person.post(path, {"decision": "approve", "passphrase": PASSPHRASE})).status_code == 303


async def test_an_open_page_does_not_keep_its_session_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, made = Clock(0.0), list[Sessions]()

    def sessions(*given: Any, **more: Any) -> Sessions:
        made.append(Sessions(*given, **more, clock=clock))
        return made[-1]

    monkeypatch.setattr("machines_mcp.desk.app.Sessions", sessions)
    async with running_desk(tmp_path / "state") as desk, browser(desk) as person, stream(person) as events:
        await waits(events)
        clock.advance(IDLE_SECONDS - 1)
        assert (await person.get("/waiting")).status_code == 200
        clock.advance(1)
        # The page reloads, which shows the sign-in.
        assert await anext(events) == ("locked", "")
        for path in ("/waiting", "/events", "/"):
            assert (await person.get(path)).status_code == 401
        assert "30 minutes" in person.page
        async with browser(desk, signed_in=False) as stranger:
            assert "30 minutes" not in stranger.page


async def test_the_stream_ends_with_the_desk(desk: RunningDesk, person: FakeBrowser) -> None:
    async with stream(person) as events:
        await waits(events)
        await desk.desk.close()
        assert [event async for event in events] == []


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Host": "x"}])
async def test_no_other_page_reads_the_stream(person: FakeBrowser, headers: dict[str, str]) -> None:
    answer = await person.http.get(f"{person.home}/events", headers=FETCHED | headers)
    assert answer.status_code in (403, 421)
