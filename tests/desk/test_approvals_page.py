"""Test decisions at the desk: what the page shows, and what counts as approval or refusal."""

from __future__ import annotations

import anyio
import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, Detail
from machines_mcp.redaction.environment import SIMULATOR_NOTE
from tests.support.desks import ADDRESS, PASSPHRASE, FakeBrowser, RunningDesk, browser, forms, identity_form, withdrawal

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


@pytest.mark.parametrize("decision", ["approve", "refuse"])
@pytest.mark.parametrize(("passphrase", "status"), [(None, 422), ("", 422), ("wrong wrong wrong", 403)])
async def test_a_session_without_the_passphrase_decides_nothing(
    desk: RunningDesk, person: FakeBrowser, decision: str, passphrase: str | None, status: int
) -> None:
    approval = await desk.ask()
    await person.get()
    given = {} if passphrase is None else {"passphrase": passphrase}
    answer = await person.post(f"/decisions/{approval.id}", {"decision": decision, **given})
    assert answer.status_code == status
    assert 'role="alert"' in answer.text and "wrong wrong" not in answer.text
    assert await desk.state(approval) == "waiting"


async def test_five_wrong_passphrases_lock_out_even_the_right_one(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await desk.ask()
    await person.get()
    form = forms(person.page)[f"/decisions/{approval.id}"] | {"decision": "approve"}
    tries = [await person.post(f"/decisions/{approval.id}", form | {"passphrase": "not it at all"}) for _ in range(5)]
    assert [answer.status_code for answer in tries] == [403, 403, 403, 403, 429]
    assert (await person.post(f"/decisions/{approval.id}", form | {"passphrase": PASSPHRASE})).status_code == 429
    assert await desk.state(approval) == "waiting"
    desk.clock.advance(14 * 60 + 59)
    assert (await person.post(f"/decisions/{approval.id}", form | {"passphrase": PASSPHRASE})).status_code == 429


async def test_concurrent_guesses_are_counted_individually(desk: RunningDesk, person: FakeBrowser) -> None:
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
    assert sorted(codes) == [403] * 4 + [429] * 4


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


@pytest.mark.parametrize("only", ["form", "page"])
async def test_an_approval_of_another_page_can_only_be_refused_here(
    desk: RunningDesk, person: FakeBrowser, only: str
) -> None:
    details = identity_form() if only == "form" else ApprovalDetails(question="Show it?", sink="page", only="page")
    approval = await desk.ask(ActionClass.IDENTITY if only == "form" else ActionClass.REVEAL, details)
    page = (await person.get()).text
    assert 'value="approve"' not in page
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
