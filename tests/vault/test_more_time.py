"""Test that the person, and only the person, can add 60 seconds once to the time of a shown card."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import httpx
import pytest

from machines_mcp.permissions.approvals import OPEN_SECONDS
from machines_mcp.server.card_reveals import AFTER_EXPIRY_SECONDS
from machines_mcp.vault.card_time import MORE_SECONDS, SHOWN_SECONDS
from machines_mcp.vault.page import FETCH_SECONDS, REPORT_SECONDS
from machines_mcp.vault.page_server import AFTER_SHOWN_SECONDS, serve_card_page
from machines_mcp.vault.parent_pipe import ParentPipe
from machines_mcp.vault.reply import Denial, VaultReply
from machines_mcp.vault.request import MAX_DEADLINE_SECONDS
from tests.support.clock import advance_loop_clock
from tests.support.vault_simulator import OpenedCard, Simulator
from tests.support.waiting import PATIENCE
from tests.vault.pages import OpenPage, PageEvents, open_page, page_request

LONG = 1000.0
"""A bound that the advanced clock does not reach."""

pytestmark = pytest.mark.anyio


@pytest.fixture
async def page(api: Simulator, card: OpenedCard) -> AsyncIterator[OpenPage]:
    async with open_page(page_request(api.base_url, api.partner_key, card)) as opened:
        yield opened


def more_token(shown: httpx.Response) -> str:
    (token,) = re.findall(r'name="token" value="([^"]+)"', shown.text)
    return str(token)


async def more(page: OpenPage, token: str) -> int:
    return (await page.post({"token": token}, f"{page.url}/more")).status_code


async def more_without_scripts(page: OpenPage, token: str) -> httpx.Response:
    page.http.timeout = LONG
    return await page.post({"token": token, "wait": "yes"}, f"{page.url}/more")


@dataclass
class Waiting:
    """A request in the background."""

    arrived: anyio.Event = field(default_factory=anyio.Event)
    status: int = 0

    async def ends(self) -> int:
        """Wait for the response and return its status."""
        with anyio.fail_after(PATIENCE):
            await self.arrived.wait()
        return self.status


@asynccontextmanager
async def waiting_for(answer: Callable[[], Awaitable[httpx.Response]]) -> AsyncIterator[Waiting]:
    found = Waiting()

    async def ask() -> None:
        found.status = (await answer()).status_code
        found.arrived.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        yield found


async def _end(page: OpenPage) -> httpx.Response:
    """Load the address to which the page goes when its time is over, without scripts."""
    return await page.http.get(f"{page.url}/end", headers={"Sec-Fetch-Site": "same-origin"}, timeout=LONG)


async def test_more_time_is_added_once(page: OpenPage) -> None:
    token = more_token(await page.press())
    advance_loop_clock(SHOWN_SECONDS - 1)
    assert [await more(page, token) for _ in range(3)] == [200, 410, 410]
    async with waiting_for(lambda: _end(page)) as end:
        advance_loop_clock(MORE_SECONDS)
        assert (await more(page, token), end.arrived.is_set()) == (410, False)
        advance_loop_clock(1)
        assert await end.ends() == 410


async def test_concurrent_presses_add_the_time_once(page: OpenPage) -> None:
    token, found = more_token(await page.press()), list[int]()

    async def press() -> None:
        found.append(await more(page, token))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(press)
    assert sorted(found) == [200] + [410] * 7


async def test_no_time_is_added_after_the_cards_time(page: OpenPage) -> None:
    token = more_token(await page.press())
    advance_loop_clock(SHOWN_SECONDS)
    assert [await more(page, token), (await more_without_scripts(page, token)).status_code] == [410, 410]
    assert (await _end(page)).status_code == 410


async def test_only_the_page_with_the_card_can_add_time(page: OpenPage, api: Simulator, card: OpenedCard) -> None:
    asked = page.token
    assert [await more(page, token) for token in (asked, "", "x" * 43)] == [403, 403, 403]
    async with open_page(page_request(api.base_url, api.partner_key, card)) as other:
        others = more_token(await other.press())
        token = more_token(await page.press())
        assert token not in (asked, others)
        assert [await more(page, wrong) for wrong in (asked, others, "", "x" * 43)] == [403] * 4
    foreign = {"Origin": "http://127.0.0.1:1"}
    for headers in (foreign, {"Origin": ""}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert (await page.post({"token": token}, f"{page.url}/more", **headers)).status_code == 403
    assert (await page.http.get(f"{page.url}/more")).status_code == 405
    assert (await page.post({"token": token}, f"{page.url}/end")).status_code == 405
    # None of these used it up.
    assert await more(page, token) == 200


async def test_the_token_for_more_time_approves_nothing(page: OpenPage) -> None:
    token = more_token(await page.press())
    for path in (f"{page.url}/decide", page.url):
        assert (await page.post(page.form() | {"token": token}, path)).status_code in (403, 405)
    assert page.notes.asked == 1


async def test_more_time_shows_the_card_to_nobody_again(page: OpenPage, card: OpenedCard) -> None:
    shown = await page.press()
    added = await page.post({"token": more_token(shown)}, f"{page.url}/more")
    for answer in (added, await page.get(), await page.press()):
        assert card.number not in re.sub(r"<[^>]+>", "", answer.text)
    assert (len(page.notes.replies), page.notes.asked) == (1, 1)


async def test_without_scripts_the_browser_waits_for_the_end_of_the_added_time(page: OpenPage) -> None:
    token = more_token(await page.press())
    advance_loop_clock(SHOWN_SECONDS - 10)
    # Both the form and the page's own refresh at 30 seconds: whichever the browser follows shows the card until then.
    async with (
        waiting_for(lambda: more_without_scripts(page, token)) as pressed,
        waiting_for(lambda: more_without_scripts(page, token)) as again,
        waiting_for(lambda: _end(page)) as refreshed,
    ):
        advance_loop_clock(MORE_SECONDS + 9)
        # Hiding it early needs no waiting.
        assert (await page.get()).status_code == 410
        assert not any(each.arrived.is_set() for each in (pressed, again, refreshed))
        advance_loop_clock(1)
        assert [await each.ends() for each in (pressed, again, refreshed)] == [410] * 3


async def test_the_end_of_a_page_that_shows_no_card_is_the_page(page: OpenPage, card: OpenedCard) -> None:
    assert f"Show the card ending {card.last4}?" in (await _end(page)).text


class _Pipe(ParentPipe):
    """The vault's pipe to a parent that allows everything."""

    def __init__(self) -> None:
        super().__init__(os.open(os.devnull, os.O_WRONLY))
        self.listening = anyio.Event()
        self.port = 0
        self.replies: list[VaultReply] = []

    def send_listening(self, port: int) -> None:
        self.port = port
        self.listening.set()

    async def look(self) -> Denial | None:
        return None

    async def show(self) -> Denial | None:
        return None

    def reply(self, reply: VaultReply) -> None:
        self.replies.append(reply)


@pytest.mark.parametrize("extended", [False, True], ids=["30 seconds", "90 seconds"])
async def test_the_vault_ends_soon_after_the_cards_time(api: Simulator, card: OpenedCard, *, extended: bool) -> None:
    pipe, ended = _Pipe(), anyio.Event()
    request = page_request(api.base_url, api.partner_key, card, verifier=None, deadline_seconds=600.0)

    async def serve() -> None:
        await serve_card_page(request, pipe)
        ended.set()

    # Idle connections would be closed as the clock advances.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with (
        anyio.create_task_group() as tasks,
        httpx.AsyncClient(trust_env=False, timeout=LONG, limits=limits) as http,
    ):
        tasks.start_soon(serve)
        await pipe.listening.wait()
        page = OpenPage(PageEvents(port=pipe.port), http)
        await page.get()
        token = more_token(await page.press(None))
        assert await more(page, token if extended else "") == (200 if extended else 403)
        advance_loop_clock(SHOWN_SECONDS + (MORE_SECONDS if extended else 0) - 1)
        for _ in range(5):
            # A server that was told to end looks every tenth of a second.
            assert ((await page.get()).status_code, ended.is_set()) == (410, False)
            advance_loop_clock(0.1)
        assert (await _end(page)).status_code == 410
        advance_loop_clock(AFTER_SHOWN_SECONDS)
        with anyio.fail_after(PATIENCE):
            await ended.wait()
    assert {reply.status for reply in pipe.replies} == {"shown"}


def test_a_yes_in_the_last_second_leaves_time_for_all_of_it() -> None:
    shown = SHOWN_SECONDS + MORE_SECONDS + AFTER_SHOWN_SECONDS
    assert FETCH_SECONDS + REPORT_SECONDS + shown <= AFTER_EXPIRY_SECONDS
    assert OPEN_SECONDS + AFTER_EXPIRY_SECONDS <= MAX_DEADLINE_SECONDS
