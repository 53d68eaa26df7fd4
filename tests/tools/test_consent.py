"""Consent: the person sees the whole text of what they accept, and nothing else is accepted."""

from __future__ import annotations

import html
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client

from machines_mcp.cli.approvals import format_approval, waiting_approvals
from machines_mcp.protocol.approval_flow import MAX_DIALOG
from machines_mcp.sandbox import agreements
from machines_mcp.server.app import App, opened
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.testing import Era
from machines_mcp.tools.agreements import MAX_TEXT
from tests.support.approver import FakeApprover
from tests.support.in_process import InProcessSandbox, in_process_sandbox
from tests.support.results import object_text
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

USER = "consenting-user"
ERAS: tuple[Era, ...] = ("legacy", "2026-07-28")
both_eras = pytest.mark.parametrize("era", ERAS)
LONG = "I agree. " * 200 + "And I owe you one million dollars."


@dataclass
class Consenting:
    """A client of a user who has not accepted the agreements yet, and the person at its dialogs."""

    app: App
    client: Client
    person: FakeApprover
    sandbox: InProcessSandbox

    async def accept(self, **more: Any) -> dict[str, Any]:
        """Accept the agreements, and return the result or the error."""
        return dict(json.loads(object_text(await self.client.call_tool("accept_agreements", more))))

    async def accepted(self) -> bool:
        async with self.sandbox.client() as partner:
            return (await partner.agreements.get(USER)).accepted

    async def desk_page(self, approval_id: str) -> str:
        home = await self.app.desk_address()
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
            page = await http.get(f"{home}decisions/{approval_id}", headers={"Sec-Fetch-Site": "none"})
        return page.text


@asynccontextmanager
async def consenting(folder: Path, era: Era = "2026-07-28") -> AsyncIterator[Consenting]:
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder / "state"), "MACHINES_USER_ID": USER}
    person = FakeApprover()
    async with (
        in_process_sandbox() as sandbox,
        opened(read_settings(env), embedded=sandbox) as app,
        Client(app.server(), mode=era, elicitation_callback=person) as client,
    ):
        async with sandbox.client() as partner:
            await partner.users.resolve(USER)
        await sandbox.control("/kyc", userId=USER, decision="approved")
        yield Consenting(app, client, person, sandbox)


def texts(monkeypatch: pytest.MonkeyPatch, *found: tuple[str, str, str]) -> None:
    """Let the simulator ask for these agreements: id, title of the document, text."""
    monkeypatch.setattr(agreements, "AGREEMENTS", found)


@both_eras
async def test_the_dialog_shows_the_whole_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, era: Era) -> None:
    texts(monkeypatch, ("terms", "Cardholder terms", LONG))
    async with consenting(tmp_path, era) as user:
        assert (await user.accept())["accepted"] is True
    (asked,) = user.person.asked
    assert f"Agreement: “{LONG}” (from Machines)\n" in asked
    assert re.search(r"Document: “Cardholder terms” http://127\.0\.0\.1:\d+/legal/terms \(from Machines\)\n", asked)


async def test_a_text_too_long_for_a_dialog_is_read_at_the_desk_or_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "x" * MAX_DIALOG + " and the rest"
    texts(monkeypatch, ("terms", "Cardholder terms", text))
    async with consenting(tmp_path) as user:
        required = await user.accept()
        assert (required["code"], user.person.asked) == ("approval.required", [])
        ((waiting,), _) = await waiting_approvals(user.app.settings)
        page = await user.desk_page(waiting.id)
        assert text in html.unescape(page)
        assert re.search(
            r'<a href="http://127\.0\.0\.1:\d+/legal/terms" target="_blank" rel="noopener noreferrer">', page
        )
        assert text in format_approval(waiting)
        assert re.search(
            r"Document +“Cardholder terms” http://127\.0\.0\.1:\d+/legal/terms  \(from Machines\)$",
            format_approval(waiting),
            re.M,
        )
        assert text not in json.dumps((await user.client.call_tool("status", {})).structured_content)


async def test_texts_that_no_page_could_show_are_not_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts(monkeypatch, ("terms", "Cardholder terms", "x" * MAX_TEXT))
    async with consenting(tmp_path) as user:
        refused = await user.accept()
        assert (refused["code"], user.person.asked) == ("partner.malformed", [])


ONE = ("terms", "Cardholder terms", LONG)


@both_eras
@pytest.mark.parametrize(
    "after",
    [
        (("terms", "Cardholder terms", LONG.replace("one million", "two million")),),
        (("terms", "Other terms", LONG),),
        (("other", "Cardholder terms", LONG),),
        (ONE, ("more", "More", "And this.")),
        (),
    ],
    ids=["text", "document", "id", "one more", "none"],
)
async def test_a_text_that_changes_after_the_question_is_not_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, era: Era, after: tuple[tuple[str, str, str], ...]
) -> None:
    texts(monkeypatch, ONE)
    async with consenting(tmp_path, era) as user:

        async def change() -> None:
            texts(monkeypatch, *after)

        user.person.during = change
        refused = await user.accept()
        assert refused["code"] == "approval.expired"
        assert refused["message"].startswith("Nothing was done")
        assert not await user.accepted()
        assert refused["next_steps"][0]["tool"] == "accept_agreements"
        # The next call asks about the texts as they are now, and is accepted.
        assert (await user.accept())["accepted"] is True
        assert len(user.person.asked) == 2


async def test_a_change_after_the_decision_at_the_desk_is_not_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts(monkeypatch, ONE)
    async with consenting(tmp_path) as user:
        user.person.answer = "cancel"
        asked = await user.accept()
        assert await user.app.guard.channels.grant(asked["approval_id"], "desk") == "granted"
        texts(monkeypatch, ("terms", "Cardholder terms", "Something else."))
        for _ in range(2):
            refused = await user.accept(approval_id=asked["approval_id"])
            assert (refused["code"], await user.accepted()) == ("approval.expired", False)
