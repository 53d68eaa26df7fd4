"""Test signing in: what the passphrase opens, and for how long."""

from __future__ import annotations

from pathlib import Path

import pytest

from machines_mcp.desk.sessions import IDLE_SECONDS, MAX_SESSIONS, Sessions
from machines_mcp.redaction.secret import Secret
from tests.support.clock import Clock
from tests.support.running_desk import PASSPHRASE, RunningDesk, browser, forms, running_desk

pytestmark = pytest.mark.anyio


async def test_signing_in_sets_an_httponly_samesite_session_cookie(desk: RunningDesk) -> None:
    async with browser(desk, signed_in=False) as person:
        answer = await person.sign_in()
        assert (answer.status_code, person.led_to(answer)) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and f"Path={person.base}/" in cookie
        assert "Max-Age" not in cookie and "Domain" not in cookie
        assert (await person.get()).status_code == 200


@pytest.mark.parametrize(("passphrase", "status"), [("", 422), ("wrong wrong wrong", 403)])
async def test_a_missing_or_wrong_passphrase_does_not_sign_in(desk: RunningDesk, passphrase: str, status: int) -> None:
    async with browser(desk, signed_in=False) as person:
        answer = await person.sign_in(passphrase)
        assert answer.status_code == status
        assert "set-cookie" not in answer.headers and "wrong wrong" not in answer.text
        assert (await person.get()).status_code == 401


async def test_wrong_sign_ins_delay_the_next_one_but_no_decision(desk: RunningDesk) -> None:
    approval = await desk.ask()
    async with browser(desk) as person, browser(desk, signed_in=False) as stranger:
        for seconds in (1, 2, 4, 8, 16, 32, 60, 60):
            assert (await stranger.sign_in("not it at all")).status_code == 403
            assert (await stranger.sign_in()).status_code == 429
            desk.clock.advance(seconds)
        assert (await stranger.sign_in("not it at all")).status_code == 403
        delayed = await stranger.sign_in()
        assert (delayed.status_code, "Try again in 60 seconds." in delayed.text) == (429, True)
        assert (await person.get()).status_code == 200
        assert "9 wrong passphrases were typed at the desk&#39;s sign-in since" in person.page
        answer = await person.post(f"/decisions/{approval.id}", {"decision": "approve", "passphrase": PASSPHRASE})
        assert answer.status_code == 303
        assert await desk.state(approval) == "granted"
        assert await desk.guard.channels.check_passphrase(Secret(PASSPHRASE), "terminal") == "granted"
        desk.clock.advance(60)
        assert (await stranger.sign_in()).status_code == 303


async def test_sign_in_without_a_set_passphrase_is_refused_with_the_reason(tmp_path: Path) -> None:
    async with running_desk(tmp_path / "state", passphrase=None) as desk, browser(desk, signed_in=False) as person:
        answer = await person.sign_in("anything at all")
        assert answer.status_code == 409
        assert "machines-mcp passphrase" in answer.text


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("/audit", "/audit"),
        ("/kyc/" + "a" * 32, "/kyc/" + "a" * 32),
        ("https://example.com/", "/"),
        ("//example.com", "/"),
        ("/audit\r\nX: y", "/"),
        ("/sign-out", "/"),
    ],
)
async def test_sign_in_redirects_to_the_requested_page_but_no_other_site(
    desk: RunningDesk, path: str, leads: str
) -> None:
    async with browser(desk, signed_in=False) as person:
        await person.get()
        answer = await person.post("/sign-in", {"passphrase": PASSPHRASE, "path": path})
        assert (answer.status_code, person.led_to(answer)) == (303, leads)


async def test_signing_out_ends_the_session_on_the_server(desk: RunningDesk) -> None:
    async with browser(desk) as person:
        kept = dict(person.http.cookies)
        assert (await person.post("/sign-out")).status_code == 303
        person.http.cookies.update(kept)
        assert (await person.get()).status_code == 401


async def test_a_second_simulator_tab_keeps_the_first_one_working(simulated: RunningDesk) -> None:
    approval = await simulated.ask()
    async with browser(simulated) as first, browser(simulated) as second:
        await second.get()
        first.http.cookies = second.http.cookies
        assert (await first.post(f"/decisions/{approval.id}", {"decision": "refuse"})).status_code == 303
        assert "/sign-out" not in forms(second.page)


def test_a_session_ends_after_exactly_thirty_idle_minutes() -> None:
    assert IDLE_SECONDS == 30 * 60
    clock = Clock(0.0)
    sessions = Sessions(1, "/desk", shared=False, clock=clock)
    cookies = {sessions.cookie: sessions.start().token}
    for _ in range(3):
        clock.advance(IDLE_SECONDS - 1)
        assert sessions.find(cookies) is not None
    clock.advance(IDLE_SECONDS)
    assert sessions.find(cookies) is None


def test_a_new_session_evicts_the_longest_idle_one() -> None:
    clock = Clock(0.0)
    sessions = Sessions(1, "/desk", shared=False, clock=clock)
    opened = []
    for _ in range(MAX_SESSIONS + 1):
        opened.append(sessions.start())
        clock.advance(1)
    found = [sessions.find({sessions.cookie: session.token}) is not None for session in opened]
    assert found == [False, *[True] * MAX_SESSIONS]


def test_two_desks_use_different_cookie_names() -> None:
    assert Sessions(1, "/desk", shared=False).cookie != Sessions(2, "/desk", shared=False).cookie
