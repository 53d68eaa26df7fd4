"""Test decisions at the desk: what the page shows, and what counts as approval or refusal."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from machines_mcp.desk.approval_view import CLASS_WORDS, TOOL_WORDS
from machines_mcp.desk.dependencies import CardPage
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, Detail
from machines_mcp.permissions.policy import Limits, default_policy
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.redaction.environment import SIMULATOR_NOTE
from machines_mcp.tools.catalog import TOOLS
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


def order_of(page: str, *texts: str) -> list[int]:
    """Return where each text is first, without the page's head and menu."""
    main = page[page.index("<main") :]
    return [main.index(text) for text in texts]


async def test_the_home_page_links_to_a_simulator_that_runs(desk: RunningDesk, person: FakeBrowser) -> None:
    assert "Its users, cards and money" not in (await person.get()).text
    desk.partner.simulator = "http://127.0.0.1:4000/control"
    page = (await person.get()).text
    assert '<a href="http://127.0.0.1:4000/control" target="_blank" rel="noopener noreferrer">' in page


async def test_the_page_shows_all_approval_details(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await desk.ask()
    page = (await person.get()).text
    for text in (
        "<code>create_withdrawal</code>",
        "Withdrawal",
        "$120.50",
        "Test Client 1.0",
        "usdc on base",
        "The first withdrawal to this destination",
        "expires in 15 minutes",
        "money or spending",
        f"<mark>{ADDRESS[:6]}</mark>{ADDRESS[6:-6]}<mark>{ADDRESS[-6:]}</mark>",
    ):
        assert text in page, text
    assert f"/decisions/{approval.id}" in forms(page)


async def test_a_request_says_who_how_much_where_to_and_what_is_new_before_the_rest(
    desk: RunningDesk, person: FakeBrowser
) -> None:
    context = (Detail("Balance", "$402.75, $282.25 afterwards"), Detail("Largest", "$9.00", "large for this user"))
    items = (*withdrawal().items, Detail("Arrives", "about 119.84 usdc", "an estimate"))
    approval = await desk.ask(details=withdrawal(items=items, context=context))
    for path in ("/", f"/decisions/{approval.id}"):
        page = (await person.get(path)).text
        article = page[page.index("<article") : page.index("</article>")]
        marked = ("The first withdrawal", "Large for this user")
        rest = ("about 119.84 usdc", "$402.75", "Asked by", "Technical details", "create_withdrawal", 'value="approve"')
        places = order_of(article := f"<main{article}", ">“user-1”<", "$120.50", f"<mark>{ADDRESS[:6]}", *marked, *rest)
        assert places == sorted(places), path
        # One statement of the amount and of the address: not in the question or the button, too.
        assert article.count("120.50") == 1 + article.count("for: Withdrawal: <bdi>$120.50<")
        assert article.count(ADDRESS[6:-6]) == 1
        assert approval.question not in article


@pytest.mark.parametrize(
    ("tool", "items", "hero", "action"),
    [
        ("create_card", [Detail("Limit", "$150.00 per 30 days")], "$150.00 per 30 days", "Issue the card"),
        ("create_card", [Detail("Limit", "no limit")], "no limit", "Issue the card"),
        (
            "close_card",
            [Detail("Card", "ending 8422", "final")],
            "Card ending 8422",
            "Close card ending 8422",
        ),
        ("accept_agreements", [Detail("Agreement", "I accept.")], "1 agreement", "Accept the agreements"),
        (
            "update_card",
            [Detail("Card", "ending 1"), Detail("Status", "locked → active", before="locked"), Detail("Limit", "$1")],
            "active",
            "Unlock card ending 1",
        ),
        (
            "update_card",
            [Detail("Card", "ending 1"), Detail("Status", "active → locked", before="active"), Detail("Limit", "$1")],
            "locked",
            "Lock card ending 1",
        ),
        (
            "update_card",
            [Detail("Card", "ending 1"), Detail("Status", "active"), Detail("Limit", "$1 → $2", before="$1")],
            "$2",
            "Change the limit of card ending 1",
        ),
        (
            "update_card",
            [
                Detail("Card", "ending 1"),
                Detail("Status", "locked → active", before="locked"),
                Detail("Limit", "$1 → $2", before="$1"),
            ],
            "$2",
            "Unlock and change the limit of card ending 1",
        ),
    ],
)
async def test_a_request_has_its_hero_and_a_button_that_says_what_it_does(
    desk: RunningDesk, person: FakeBrowser, tool: str, items: list[Detail], hero: str, action: str
) -> None:
    await desk.ask(details=ApprovalDetails("Do it?", items=(Detail("User", "user-1"), *items)), tool=tool)
    page = (await person.get()).text
    found = re.search(r'<span class="amount[^>]*>(.*?)</h3>', page, re.DOTALL)
    assert found and hero in found.group(1)
    button = re.search(r'<button class="(\w+)" name="decision" value="approve">([^<]*)</button>', page)
    assert button and button.groups() == ("danger" if tool == "close_card" else "primary", action)
    before = items[-1].before
    assert before is None or f'<bdi class="before">{before}</bdi>' in page


async def test_a_tool_without_words_of_its_own_shows_its_question(desk: RunningDesk, person: FakeBrowser) -> None:
    details = ApprovalDetails("Allow this call: Create a deposit?", items=(Detail("Network", "base"),))
    await desk.ask(ActionClass.WRITE, details, tool="create_deposit")
    assert "Allow this call: Create a deposit?" in (await person.get()).text


def test_each_tool_that_a_person_decides_has_words() -> None:
    assert {tool.name for tool in TOOLS if tool.approval_details} == set(TOOL_WORDS)
    assert set(CLASS_WORDS) == {one.value for one in ActionClass}


async def test_each_agreement_is_shown_once_with_its_document(desk: RunningDesk, person: FakeBrowser) -> None:
    rows = [
        row
        for name in ("Terms", "Consent")
        for row in (
            Detail("Agreement", f"I accept the {name} text."),
            Detail("Document", f"{name} paper", url=f"https://machines.example/{name}"),
        )
    ]
    details = ApprovalDetails("Accept 2 agreements? The text is below.", items=(Detail("User", "user-1"), *rows))
    await desk.ask(ActionClass.CONSENT, details, tool="accept_agreements")
    page = (await person.get()).text
    for name in ("Terms", "Consent"):
        assert page.count(f"I accept the {name} text.") == 1
        assert page.count(f'href="https://machines.example/{name}" target="_blank" rel="noopener noreferrer"') == 1
    assert "2 agreements</bdi></span>" in page and page.count("<ol class") == 1 and "The text is below" not in page


async def test_requests_are_grouped_by_user_newest_first(desk: RunningDesk, person: FakeBrowser) -> None:
    asked = []
    for number, user in enumerate(("a", "b", "a", "c", "b")):
        desk.clock.advance(1)
        asked.append(await desk.ask(digest=str(number), user_id=user))
    page = (await person.get()).text
    assert re.findall(
        '<h2 class="group"[^>]*><bdi>“(.)”</bdi> <small>from the agent</small> <small>(.) waiting', page
    ) == [
        ("b", "2"),
        ("c", "1"),
        ("a", "2"),
    ]
    assert re.findall('data-id="([0-9a-f]{32})"', page) == [asked[n].id for n in (4, 1, 3, 2, 0)]


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
    assert page.count("<script") == 1 and "<script>alert" not in page and "<img" not in page
    assert page.count("&lt;script&gt;") == 4
    assert page.count("self-reported name") == 1


async def test_the_page_names_every_approval_state(desk: RunningDesk, person: FakeBrowser) -> None:
    failed, running = [await desk.ask(digest=str(n)) for n in range(2)]
    done = await desk.ask(ActionClass.CONSENT, tool="accept_agreements")
    for approval in (done, failed, running):
        await desk.guard.approvals.grant(approval.id, "desk")
        await desk.guard.approvals.consume(approval)
    found = {"accepted": True, "agreements": [], "next_steps": []}
    await desk.guard.approvals.finish(done.id, json.dumps(found), ok=True, code="ok")
    error = ToolError(Code.PARTNER_REJECTED)
    await desk.guard.approvals.finish(failed.id, json.dumps(error.payload()), ok=False, code=error.code.value)
    # What it led to is told in the tool's sentence, not by a code.
    for approval, state, sentence in (
        (done, "Done", "The agreements are accepted."),
        (failed, "Failed", error.message),
    ):
        for path in ("/", f"/decisions/{approval.id}"):
            page = html.unescape((await person.get(path)).text)
            assert state in page and sentence in page and error.code.value not in page
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


async def test_a_withdrawn_request_is_shown_as_withdrawn_in_a_neutral_tone(
    desk: RunningDesk, person: FakeBrowser
) -> None:
    approval = await desk.ask()
    path = f"/decisions/{approval.id}"
    form = forms((await person.get()).text)[path]
    found = await desk.guard.approvals.refusals.withdraw(approval.id)
    assert found is not None and found.shown_state == "withdrawn"
    # The person had the page open, and presses a button.
    for pressed in ({"decision": "approve", "passphrase": PASSPHRASE}, {"decision": "refuse"}):
        late = await person.post(path, form | pressed)
        assert (late.status_code, "was withdrawn" in late.text) == (409, True)
    for page in (late.text, (await person.get("/")).text, (await person.get(path)).text):
        states = re.findall(r'class="state (\w*)">([^<]*)<', page)
        assert states == [("soft", "Withdrawn")]
        assert "The assistant withdrew this request. Nothing was changed." in page
        assert "by the assistant" in page
