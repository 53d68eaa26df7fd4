"""Test the page of an approved withdrawal: what it shows in each stage, and what its script may send."""

from __future__ import annotations

import html
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.desk.withdrawal_page import MAX_TYPED
from tests.chain.answers import CHAIN, RECIPIENT, TARGET
from tests.support.clock import Clock
from tests.support.running_desk import PASSPHRASE, FakeBrowser, RunningDesk, browser, running_desk
from tests.support.wallets import sign_typed_data
from tests.support.withdrawal_pages import (
    ADMIN,
    HASH,
    PATH,
    STRANGER,
    WITHDRAWAL_ID,
    PlannedWithdrawals,
    approved,
    details,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def withdrawals() -> PlannedWithdrawals:
    return PlannedWithdrawals(Clock())


@pytest.fixture
async def desk(tmp_path: Path, withdrawals: PlannedWithdrawals) -> AsyncIterator[RunningDesk]:
    more: dict[str, Any] = {"clock": withdrawals.clock, "withdrawals": withdrawals}
    async with running_desk(tmp_path / "state", "embedded", **more) as opened:
        withdrawals.approval_id = await approved(opened)
        yield opened


@pytest.fixture
async def person(desk: RunningDesk) -> AsyncIterator[FakeBrowser]:
    async with browser(desk) as opened:
        yield opened


def data(page: str, name: str) -> str:
    """Return a value that the page has for its script."""
    found = re.search(rf'data-{name}="([^"]*)"', page)
    assert found is not None, name
    return html.unescape(found[1])


async def send(person: FakeBrowser, what: str, **fields: str) -> Any:
    """Send what the page's script sends."""
    (name, value), token = next(iter(fields.items())), data(person.page, f"{what}-token")
    page = person.page
    answer = await person.post(data(page, what).removeprefix(person.base), {"token": token, name: value})
    person.page = page
    return answer


def signature(withdrawals: PlannedWithdrawals, page: str, account: Any = ADMIN) -> str:
    typed = json.loads(data(page, "plan"))["typedData"]
    return f"0x{sign_typed_data(account, typed)[0].hex()}"


async def test_the_page_shows_the_frozen_facts_and_what_the_wallet_shows(person: FakeBrowser) -> None:
    answer = await person.get(PATH)
    assert answer.status_code == 200
    text = re.sub("<[^>]+>", "", answer.text)
    for fact in ("$100.50", RECIPIENT, "The first withdrawal to this destination", TARGET, ADMIN.address):
        assert fact in text, fact
    assert f"Base Sepolia ({CHAIN})" in text and "Ready to sign" in text
    assert data(answer.text, "seconds") == str(25 * 60)


async def test_the_plan_of_the_page_is_the_tools(person: FakeBrowser, withdrawals: PlannedWithdrawals) -> None:
    plan = json.loads(data((await person.get(PATH)).text, "plan"))
    made = await withdrawals.plan()
    assert plan["typedData"] == made.typed_data and plan["transaction"] is None
    assert (plan["chainId"], plan["sender"]) == (hex(CHAIN), ADMIN.address)
    withdrawals.path = "controller_v1"
    plan = json.loads(data((await person.get(PATH)).text, "plan"))
    assert plan["typedData"] is None and plan["transaction"] == (await withdrawals.plan()).transaction


async def test_a_withdrawal_without_a_used_approval_has_no_page(
    desk: RunningDesk, person: FakeBrowser, withdrawals: PlannedWithdrawals
) -> None:
    waiting = await desk.ask(details=details(), digest="waiting")
    refused = await desk.ask(details=details(), digest="refused")
    await desk.guard.approvals.refuse(refused.id, "desk")
    granted = await approved(desk, consumed=False)
    for approval_id in (waiting.id, refused.id, granted, "0" * 32):
        withdrawals.approval_id = approval_id
        answer = await person.get(PATH)
        assert (answer.status_code, RECIPIENT in answer.text) == (404, False), approval_id


async def test_an_unknown_id_has_no_page(person: FakeBrowser) -> None:
    for name in (f"wd_{'1' * 32}", "wd_", f"wd_{'g' * 32}", "0" * 32, f"{WITHDRAWAL_ID}/other"):
        assert (await person.get(f"/withdrawals/{name}")).status_code == 404, name


async def test_without_the_extra_there_is_no_page(tmp_path: Path) -> None:
    async with running_desk(tmp_path / "state", "embedded") as desk, browser(desk) as person:
        assert (await person.get(PATH)).status_code == 404


ENDED = [
    ("sent", "The transaction is on its way.", ['id="again"']),
    ("done", "the money was sent", []),
    ("expired", "has expired", []),
    ("blocked", "can&#39;t be sent now|can't be sent now", []),
]


@pytest.mark.parametrize(("stage", "words", "buttons"), ENDED)
async def test_a_page_that_is_over_has_no_button_for_a_wallet(
    person: FakeBrowser, withdrawals: PlannedWithdrawals, stage: str, words: str, buttons: list[str]
) -> None:
    withdrawals.view_changes = {"stage": stage, "typed_data": None}
    page = (await person.get(PATH)).text
    assert re.search(words, page)
    assert 'id="wallets"' not in page
    # A wallet that makes a waiting transaction faster gives it another hash.
    assert ('id="report"' in page) == (stage == "sent")
    main = page[page.index('id="withdrawal"') : page.index("</main>")]
    assert re.findall(r'<button[^>]*(id="[a-z]+")', main) == buttons


async def test_the_tools_sentence_replaces_the_pages_own(person: FakeBrowser, withdrawals: PlannedWithdrawals) -> None:
    withdrawals.view_changes = {"stage": "blocked", "message": "The node of the chain did not answer in time."}
    assert "The node of the chain did not answer in time." in (await person.get(PATH)).text


async def test_solana_shows_the_transaction_to_copy(person: FakeBrowser, withdrawals: PlannedWithdrawals) -> None:
    withdrawals.view_changes = {"stage": "send", "typed_data": None, "transaction_base64": "AQAB" * 90}
    page = (await person.get(PATH)).text
    assert f">{'AQAB' * 90}</textarea>" in page and 'id="copy"' in page
    assert "can&#39;t reach Solana wallets" in page or "can't reach Solana wallets" in page
    assert 'id="wallets"' not in page and "AQAB" not in data(page, "plan")


async def test_a_signature_of_the_admin_gets_the_transaction(
    person: FakeBrowser, withdrawals: PlannedWithdrawals
) -> None:
    page = (await person.get(PATH)).text
    found = (await send(person, "sign", signature=signature(withdrawals, page))).json()
    assert found["message"] == "" and found["transaction"]["to"] == TARGET
    assert set(found["transaction"]) == {"from", "to", "data", "value", "chainId"}


async def test_a_signature_of_another_account_gets_a_sentence(
    person: FakeBrowser, withdrawals: PlannedWithdrawals
) -> None:
    page = (await person.get(PATH)).text
    found = (await send(person, "sign", signature=signature(withdrawals, page, STRANGER))).json()
    assert found["transaction"] is None and found["message"].startswith("Another account signed this.")


async def test_a_hash_is_reported_and_the_page_follows(person: FakeBrowser, withdrawals: PlannedWithdrawals) -> None:
    await person.get(PATH)
    found = (await send(person, "sent", hash=f" {HASH} ")).json()
    assert found == {"stage": "done", "message": "The transaction is in block 7. $100.50 was sent."}
    assert withdrawals.hashes == [HASH]
    assert HASH in (await person.get(PATH)).text


async def test_what_the_browser_sends_is_cut(person: FakeBrowser, withdrawals: PlannedWithdrawals) -> None:
    await person.get(PATH)
    await send(person, "sign", signature="0x" + "1" * 20_000)
    await send(person, "sent", hash="1" * 20_000)
    assert [len(one) for one in (*withdrawals.signatures, *withdrawals.hashes)] == [MAX_TYPED, MAX_TYPED]


async def test_only_the_page_itself_may_send(
    desk: RunningDesk, person: FakeBrowser, withdrawals: PlannedWithdrawals
) -> None:
    page = (await person.get(PATH)).text
    token = data(page, "sign-token")
    fields = {"token": token, "signature": signature(withdrawals, page)}
    for path, form, headers in (
        (f"{PATH}/signature", {"signature": "0x"}, {}),
        (f"{PATH}/signature", fields | {"token": data(page, "sent-token")}, {}),
        (f"{PATH}/sent", {"token": token, "hash": HASH}, {}),
        (f"{PATH}/signature", fields, {"Origin": "https://machines.example"}),
        (f"{PATH}/signature", fields, {"Sec-Fetch-Site": "same-site"}),
        (f"{PATH}/signature", fields, {"Cookie": "none=1"}),
    ):
        answer = await person.http.post(
            person.home + path,
            data=form,
            headers={"Origin": person.origin, "Sec-Fetch-Site": "same-origin"} | headers,
        )
        assert answer.status_code == 403, (path, headers)
    assert (withdrawals.signatures, withdrawals.hashes) == ([], [])
    assert (await person.get(f"{PATH}/signature")).status_code == 405


async def test_signing_in_leads_to_the_page(tmp_path: Path, withdrawals: PlannedWithdrawals) -> None:
    more: dict[str, Any] = {"clock": withdrawals.clock, "withdrawals": withdrawals}
    async with (
        running_desk(tmp_path / "state", **more) as desk,
        browser(desk, signed_in=False) as stranger,
    ):
        withdrawals.approval_id = await approved(desk)
        answer = await stranger.get(PATH)
        assert (answer.status_code, RECIPIENT in answer.text) == (401, False)
        answer = await stranger.post("/sign-in", {"passphrase": PASSPHRASE})
        assert (answer.status_code, stranger.led_to(answer)) == (303, PATH)


async def test_a_frozen_folder_is_said_on_the_page(desk: RunningDesk, person: FakeBrowser) -> None:
    await desk.guard.freezes.freeze("terminal")
    assert "Changes are frozen" in (await person.get(PATH)).text


async def test_texts_can_not_leave_their_place(person: FakeBrowser, withdrawals: PlannedWithdrawals) -> None:
    evil = "</script><script>alert(1)</script>\"'><b>"
    withdrawals.view_changes = {
        "rows": ((evil, evil),),
        "sender": evil,
        "typed_data": {"message": evil},
        "message": evil,
    }
    page = (await person.get(PATH)).text
    assert "alert(1)</script>" not in page and "<b>" not in page
    assert json.loads(data(page, "plan"))["typedData"] == {"message": evil}


async def test_the_approval_leads_to_the_page_once_machines_has_signed(
    desk: RunningDesk, person: FakeBrowser, withdrawals: PlannedWithdrawals
) -> None:
    link = f'href="{person.base}{PATH}"'
    assert link in (await person.get(f"/decisions/{withdrawals.approval_id}")).text
    for pending in (await approved(desk, status="pending"), await approved(desk, consumed=False)):
        assert link not in (await person.get(f"/decisions/{pending}")).text
