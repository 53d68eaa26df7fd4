"""Test decisions at the desk: what the page shows, and what counts as approval or refusal."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from machines_mcp.desk.dependencies import CardPage
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, Detail
from machines_mcp.permissions.policy import Limits, default_policy
from machines_mcp.redaction.environment import SIMULATOR_NOTE
from tests.support.running_desk import (
    ADDRESS,
    PASSPHRASE,
    FakeBrowser,
    RunningDesk,
    browser,
    forms,
    identity_form,
    running_desk,
    withdrawal,
)

pytestmark = pytest.mark.anyio


async def test_the_page_shows_all_approval_details(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await desk.ask()
    page = (await person.get()).text
    for text in (
        "create_withdrawal",
        "Create a withdrawal",
        "$120.50",
        "Test Client 1.0",
        "usdc on base",
        "the first withdrawal to this destination",
        "expires in 15 minutes",
        "money",
        f"<mark>{ADDRESS[:6]}</mark>{ADDRESS[6:-6]}<mark>{ADDRESS[-6:]}</mark>",
    ):
        assert text in page, text
    assert f"/decisions/{approval.id}" in forms(page)


@pytest.mark.parametrize(("decision", "state"), [("approve", "granted"), ("refuse", "refused")])
async def test_the_passphrase_decides_an_approval_once(
    desk: RunningDesk, person: FakeBrowser, decision: str, state: str
) -> None:
    approval = await desk.ask()
    await person.get()
    path = f"/decisions/{approval.id}"
    form = forms(person.page)[path] | {"decision": decision, "passphrase": PASSPHRASE}
    assert (await person.post(path, form)).status_code == 303
    assert await desk.state(approval) == state
    again = await person.post(path, form)
    assert again.status_code == 409
    assert "no longer waiting" in again.text
    assert await desk.state(approval) == state


@pytest.mark.parametrize("passphrase", [None, "", "wrong wrong wrong"])
async def test_a_session_refuses_without_the_passphrase(
    desk: RunningDesk, person: FakeBrowser, passphrase: str | None
) -> None:
    approval = await desk.ask()
    await person.get()
    assert 'value="refuse" formnovalidate>' in person.page
    given = {} if passphrase is None else {"passphrase": passphrase}
    answer = await person.post(f"/decisions/{approval.id}", {"decision": "refuse", **given})
    assert answer.status_code == 303
    assert await desk.state(approval) == "refused"
    assert await desk.guard.passphrase.tries.wait("desk") == 0


@pytest.mark.parametrize(("passphrase", "status"), [(None, 422), ("", 422), ("wrong wrong wrong", 403)])
async def test_a_session_without_the_passphrase_approves_nothing(
    desk: RunningDesk, person: FakeBrowser, passphrase: str | None, status: int
) -> None:
    approval = await desk.ask()
    await person.get()
    given = {} if passphrase is None else {"passphrase": passphrase}
    answer = await person.post(f"/decisions/{approval.id}", {"decision": "approve", **given})
    assert answer.status_code == status
    assert 'role="alert"' in answer.text and "wrong wrong" not in answer.text
    assert await desk.state(approval) == "waiting"


async def test_a_wrong_passphrase_delays_the_next_one_but_no_refusal(desk: RunningDesk, person: FakeBrowser) -> None:
    approval, other = await desk.ask(), await desk.ask(digest="other")
    path = f"/decisions/{approval.id}"
    await person.get(path)
    for delay in ("1 second", "2 seconds", "4 seconds"):
        wrong = await person.post(path, {"decision": "approve", "passphrase": "not it at all"})
        assert (wrong.status_code, f"Wrong passphrase. Nothing was changed. Try again in {delay}." in wrong.text) == (
            403,
            True,
        )
        delayed = await person.post(path, {"decision": "approve", "passphrase": PASSPHRASE})
        assert (delayed.status_code, f"Try again in {delay}." in delayed.text) == (429, True)
        desk.clock.advance(int(delay[0]))
    assert (await person.post(path, {"decision": "approve", "passphrase": "not it at all"})).status_code == 403
    await person.get(f"/decisions/{other.id}")
    assert (await person.post(f"/decisions/{other.id}", {"decision": "refuse"})).status_code == 303
    await person.get(path)
    desk.clock.advance(8)
    assert (await person.post(path, {"decision": "approve", "passphrase": PASSPHRASE})).status_code == 303
    assert [await desk.state(one) for one in (approval, other)] == ["granted", "refused"]


async def test_one_of_many_concurrent_guesses_is_checked(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await desk.ask()
    await person.get()
    path = f"/decisions/{approval.id}"
    form = forms(person.page)[path] | {"decision": "approve", "passphrase": "not it at all"}
    codes: list[int] = []

    async def guess() -> None:
        codes.append((await person.post(path, form)).status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(guess)
    assert sorted(codes) == [403] + [429] * 7


async def test_an_expired_approval_is_hidden_and_undecidable(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await desk.ask()
    await person.get()
    form = forms(person.page)[f"/decisions/{approval.id}"] | {"decision": "approve", "passphrase": PASSPHRASE}
    desk.clock.advance(15 * 60 + 1)
    answer = await person.post(f"/decisions/{approval.id}", form)
    assert answer.status_code == 409
    assert await desk.state(approval) == "waiting"  # nothing is recorded: the approval has expired
    assert f"/decisions/{approval.id}" not in forms((await person.get()).text)
    assert "Expired" in (await person.get(f"/decisions/{approval.id}")).text


async def test_the_simulator_needs_no_passphrase_and_says_why(simulated: RunningDesk) -> None:
    approval = await simulated.ask()
    async with browser(simulated) as person:
        assert 'type="password"' not in person.page
        assert SIMULATOR_NOTE in person.page
        assert (await person.post(f"/decisions/{approval.id}", {"decision": "approve"})).status_code == 303
        assert await simulated.state(approval) == "granted"
        assert "Approved." in (await person.get()).text
        assert "it runs once" not in (await person.get()).text


REVEAL = ApprovalDetails(question="Show it?", sink="page", only="page")


async def test_the_desk_starts_the_cards_page_on_a_click(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await desk.ask(ActionClass.REVEAL, REVEAL)
    await person.get(f"/decisions/{approval.id}")
    assert desk.partner.opened == []
    page = await person.post(f"/cards/{approval.id}")
    assert (page.status_code, desk.partner.opened) == (200, [approval.id])
    assert '<meta http-equiv="refresh" content="0;url=http://127.0.0.1:9/card">' in page.text
    assert 'href="http://127.0.0.1:9/card"' in page.text
    assert await desk.state(approval) == "waiting"


async def test_a_cards_page_that_can_not_start_is_explained_on_the_same_page(
    desk: RunningDesk, person: FakeBrowser
) -> None:
    desk.partner.card_page = CardPage(message="Three card pages already wait.")
    approval = await desk.ask(ActionClass.REVEAL, REVEAL)
    await person.get()
    page = await person.post(f"/cards/{approval.id}")
    assert (page.status_code, "Three card pages already wait." in page.text) == (409, True)
    assert f"/cards/{approval.id}" in forms(page.text)


async def test_no_cards_page_starts_without_the_forms_token(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await desk.ask(ActionClass.REVEAL, REVEAL)
    await person.get()
    assert (await person.post(f"/cards/{approval.id}", {"token": "0" * 64})).status_code == 403
    assert desk.partner.opened == []


@pytest.mark.parametrize("only", ["form", "page"])
async def test_an_approval_of_another_page_can_only_be_refused_here(
    desk: RunningDesk, person: FakeBrowser, only: str
) -> None:
    details = identity_form() if only == "form" else ApprovalDetails(question="Show it?", sink="page", only="page")
    approval = await desk.ask(ActionClass.IDENTITY if only == "form" else ActionClass.REVEAL, details)
    page = (await person.get()).text
    assert 'value="approve"' not in page and 'type="password"' not in page
    assert (f'href="{person.base}/kyc/{approval.id}"' in page) is (only == "form")
    path = f"/decisions/{approval.id}"
    forged = await person.post(path, {"decision": "approve", "passphrase": PASSPHRASE})
    assert forged.status_code == 403
    assert await desk.state(approval) == "waiting"
    assert (await person.post(path, {"decision": "refuse", "passphrase": PASSPHRASE})).status_code == 303
    assert await desk.state(approval) == "refused"


async def test_external_text_is_escaped(desk: RunningDesk, person: FakeBrowser) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x>"
    await desk.ask(details=withdrawal(question=evil, items=(Detail(evil, evil, evil),)), asked_by=evil)
    page = (await person.get()).text
    assert "<script" not in page and "<img" not in page
    assert page.count("&lt;script&gt;") == 5
    assert page.count("self-reported name") == 1


async def test_the_page_names_every_approval_state(desk: RunningDesk, person: FakeBrowser) -> None:
    done, failed, running = [await desk.ask(digest=str(n)) for n in range(3)]
    for approval in (done, failed, running):
        await desk.guard.approvals.grant(approval.id, "desk")
        await desk.guard.approvals.consume(approval)
    await desk.guard.approvals.finish(done.id, '{"next_steps": []}', ok=True, code="ok")
    await desk.guard.approvals.finish(failed.id, '{"code": "partner.rejected"}', ok=False, code="partner.rejected")
    assert "Done" in (await person.get(f"/decisions/{done.id}")).text
    assert "partner.rejected" in (await person.get(f"/decisions/{failed.id}")).text
    assert "Running" in (await person.get(f"/decisions/{running.id}")).text
    await desk.guard.approvals.executions.release(running.id)
    assert "The outcome of the call is unknown" in (await person.get(f"/decisions/{running.id}")).text
    assert (await person.get("/decisions/" + "0" * 32)).status_code == 404


async def test_the_page_shows_the_newest_fifty_requests_and_counts_the_others(tmp_path: Path) -> None:
    limits = Limits(unbounded_cards=True, waiting_per_user=99)
    policy = replace(default_policy("sandbox", read_only=False), limits=limits)
    async with running_desk(tmp_path / "state", policy=policy) as desk, browser(desk) as person:
        for number in range(60):
            desk.clock.advance(1)
            await desk.ask(digest=f"digest-{number}")
        page = (await person.get()).text
        assert len([path for path in forms(page) if path.startswith("/decisions/")]) == 50
        assert "10 older requests wait" in page and "60 waiting" in page


async def test_home_page_of_a_desk_for_all_users_shows_what_is_left_of_totals(tmp_path: Path) -> None:
    limits = Limits(asks_per_minute=5, mutations_per_hour=20, total_asks_per_minute=50, total_mutations_per_hour=200)
    policy = replace(default_policy("embedded", read_only=False), limits=limits)
    async with running_desk(tmp_path / "state", "embedded", policy=policy) as desk, browser(desk) as person:
        await desk.ask()
        page = (await person.get("/")).text
    shown = dict(re.findall(r"<dt>([^<]*)</dt><dd>([0-9,]+) left", page))
    assert shown == {"Requests this minute, all users": "49", "Changes this hour, all users": "200"}


async def test_the_page_counts_the_requests_under_another_policy(tmp_path: Path) -> None:
    async with running_desk(tmp_path / "state", "embedded") as desk:
        other = await desk.ask()
    policy = replace(default_policy("embedded", read_only=False), limits=Limits(per_call_cents=1))
    async with running_desk(tmp_path / "state", "embedded", policy=policy) as desk, browser(desk) as person:
        assert "1 call waits under another policy" in (await person.get("/")).text
        assert "It was requested under another policy" in (await person.get(f"/decisions/{other.id}")).text
