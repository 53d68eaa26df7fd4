"""Test the desk's freeze: a button on every page without the passphrase, and a form with it to lift the freeze."""

from __future__ import annotations

import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import CallRequest
from machines_mcp.storage.freeze import Frozen
from machines_mcp.storage.principal import ANY_USER
from tests.support.running_desk import PASSPHRASE, FakeBrowser, RunningDesk, browser, forms

pytestmark = pytest.mark.anyio

WRITE = CallRequest("create_deposit", ActionClass.WRITE, "user-1", "digest")


async def frozen(desk: RunningDesk) -> bool:
    try:
        await desk.guard.approvals.admit(WRITE)
    except Frozen:
        return True
    return False


async def test_every_page_has_the_button_and_shows_a_freeze(desk: RunningDesk, person: FakeBrowser) -> None:
    waiting = await desk.ask()
    pages = ("/", "/audit", f"/decisions/{waiting.id}", "/freeze")
    for path in pages:
        assert "/freeze" in forms((await person.get(path)).text), path
    assert not await frozen(desk)
    await person.get(pages[2])
    answer = await person.post("/freeze")
    assert (answer.status_code, person.led_to(answer)) == (303, "/freeze")
    assert await frozen(desk)
    for path in pages:
        assert "Changes are frozen" in (await person.get(path)).text, path
    assert await desk.state(waiting) == "waiting"


async def test_a_frozen_request_is_refused_but_not_approved(desk: RunningDesk, person: FakeBrowser) -> None:
    one, other = await desk.ask(), await desk.ask(digest="other")
    await desk.guard.freezes.freeze("terminal")
    await person.get()
    approve = {"decision": "approve", "passphrase": PASSPHRASE}
    answer = await person.post(f"/decisions/{one.id}", approve)
    assert (answer.status_code, "Changes are frozen, so nothing was approved" in answer.text) == (409, True)
    assert await desk.state(one) == "waiting"
    await person.get()
    assert (await person.post(f"/decisions/{other.id}", approve | {"decision": "refuse"})).status_code == 303
    assert await desk.state(other) == "refused"


async def test_the_passphrase_lifts_a_freeze(desk: RunningDesk, person: FakeBrowser) -> None:
    await person.post("/freeze")
    for passphrase, status in (("", 422), ("wrong wrong wrong", 403)):
        await person.get("/freeze")
        answer = await person.post("/unfreeze", {"passphrase": passphrase})
        assert (answer.status_code, 'role="alert"' in answer.text) == (status, True)
        assert await frozen(desk)
    desk.clock.advance(1)
    await person.get("/freeze")
    answer = await person.post("/unfreeze", {"passphrase": PASSPHRASE})
    assert (answer.status_code, person.led_to(answer)) == (303, "/freeze")
    assert not await frozen(desk)
    assert [(row.code, row.by) for row in await desk.guard.audit.rows(ANY_USER, kind="setting")][-2:] == [
        ("frozen", "desk"),
        ("unfrozen", "desk"),
    ]


async def test_a_freeze_needs_a_session_and_the_forms_token(desk: RunningDesk) -> None:
    async with browser(desk, signed_in=False) as stranger:
        assert (await stranger.post("/freeze", {"token": "0" * 64})).status_code == 403
        assert "Sign in to the desk" in (await stranger.get("/freeze")).text
    async with browser(desk) as person:
        assert (await person.post("/freeze", {"token": "0" * 64})).status_code == 403
        assert (await person.post("/freeze", Origin="http://127.0.0.1:1")).status_code == 403
    assert not await frozen(desk)


async def test_the_simulators_desk_lifts_one_users_freeze_without_a_passphrase(simulated: RunningDesk) -> None:
    for user in ("user-1", "user-2"):
        await simulated.guard.freezes.freeze("terminal", user)
    async with browser(simulated) as person:
        page = (await person.get("/freeze")).text
        assert "user-1" in page and "user-2" in page and "passphrase" not in page
        assert (await person.post("/unfreeze", {"user_id": "user-3"})).status_code == 303
        await person.get("/freeze")
        await person.post("/unfreeze", {"user_id": "user-1"})
    assert [freeze.user_id for freeze in await simulated.guard.freezes.all()] == ["user-2"]
