"""Every argument of every tool that can ask is shown to the person who approves, wherever they decide."""

from __future__ import annotations

import html
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client

from machines_mcp.cli.approvals import format_approval, waiting_approvals
from machines_mcp.partner import CardLimit
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.protocol.tool import Tool
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.app import App, opened
from machines_mcp.server.card_reveals import page_details
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.storage.withdrawals import Withdrawals
from machines_mcp.tools.approvals import cancel_approval
from machines_mcp.tools.catalog import TOOLS
from machines_mcp.tools.kyc_arguments import IDENTITY
from machines_mcp.vault.page_view import PageView
from machines_mcp.vault.request import PageOptions, VaultRequest
from tests.support.approver import FakeApprover
from tests.support.in_process import InProcessSandbox, in_process_sandbox
from tests.support.results import object_text
from tests.support.signed_withdrawals import signed_withdrawal
from tests.support.stdio_client import applicant
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

USER = "walked-user"
ADDRESSES = {name: f"0x{digit * 40}" for name, digit in zip(("a", "c", "d"), "123", strict=True)}
VALUES: dict[str, Any] = applicant() | {
    "user_id": USER,
    "purpose": "funding",
    "wallet_chain": "evm",
    "wallet_address": ADDRESSES["a"],
    "wallet_label": "Savings wallet",
    "occupation_query": "developer",
    "wait_seconds": 7,
    "query": "usdish",
    "limit": 13,
    "currency": "usdc",
    "network": "stellar",
    "amount": 12.5,
    "amount_currency": "usd",
    "deposit_id": "deposit-0123456789",
    "scope": "all",
    "types": ["spend", "payment"],
    "from": "2026-11-02",
    "to": "2026-11-29",
    "cursor": "page-two",
    "amount_cents": 1_234,
    "address": "GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGZ",
    "extra_id": "memo-77",
    "admin_address": ADDRESSES["c"],
    "withdrawal_id": "wd_" + "0" * 32,
    "transaction_hash": "0x" + "ab" * 32,
    "admin_nonce": "7",
    "admin_signature": "0x" + "5e" * 65,
    "source_chain_id": 8453,
    "source_token_address": ADDRESSES["d"],
    "label": "Weekend money",
    "limit_amount_cents": 10_000,
    "limit_frequency": "per7DayPeriod",
    "status": "active",
    "sink": "model",
    "address_line2": "Flat 9",
    "phone_country_code": "1",
    "phone_number": "4155550100",
}
"""A valid value for each argument. A new argument must be added, or the walk fails."""
SPELLED = {
    "wallet_chain": "EVM",
    "amount_cents": "$12.34",
    "limit_amount_cents": "$100.00",
    "limit_frequency": "per week",
    "wait_seconds": "Wait seconds: 7",
    "limit": "Limit: 13",
    "types": "spend, payment",
    ("update_card", "status"): "locked → active",
    ("reveal_card", "sink"): "THE AI AND ITS PROVIDER WILL SEE IT",
}
"""How a person reads a value, if not as it was sent."""
MASKED = {
    "first_name": f"{VALUES['first_name']} {VALUES['last_name']}",
    "last_name": f"{VALUES['first_name']} {VALUES['last_name']}",
    "birth_date": "Born in: 1986",
    "national_id": "National ID: ending 906",
    "country_of_issue": "US",
    "address_country_code": "US",
    "email": "at example.com",
}
"""Identity data is shown masked: enough to recognize whose it is."""
NOT_SHOWN = {
    ("create_withdrawal", "quote_id"): "stands for the terms of the quote, all of which are shown",
} | {
    ("submit_kyc", name): "no more identity data is kept than is needed to recognize the user; the row names the fields"
    for name in IDENTITY
    if name not in MASKED
}
"""The arguments that are not shown, and why."""


@dataclass
class Walk:
    """An app where every call asks, a client with a dialog, and a user with a locked card and a deposit."""

    app: App
    client: Client
    person: FakeApprover
    known: dict[str, Any]

    def arguments(self, tool: Tool) -> dict[str, Any]:
        """Return a value for every argument of the tool."""
        return {name: (VALUES | self.known)[name] for name in tool.input_model.model_fields}

    async def surfaces(self, tool: Tool, given: dict[str, Any]) -> dict[str, str]:
        """Ask for the call, and return what each surface shows, as plain text."""
        self.person.asked.clear()
        answer = await self.client.call_tool(tool.name, given)
        body = json.loads(object_text(answer))
        assert body["code"] == "approval.required", body
        waiting, _ = await waiting_approvals(self.app.settings)
        found = [one for one in waiting if one.id == body["approval_id"]]
        dialog, terminal = self.person.asked[0], _flat(format_approval(found[0]))
        return {"dialog": dialog, "desk": await self._desk(found[0].id), "terminal": terminal}

    async def _desk(self, approval_id: str) -> str:
        home = await self.app.desk_address()
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
            page = await http.get(f"{home}decisions/{approval_id}", headers={"Sec-Fetch-Site": "none"})
        assert page.status_code == 200
        return _plain(page.text)


def _plain(page: str) -> str:
    """Return the text of a page, with its tables as lines."""
    return _flat(html.unescape(re.sub(r"<[^>]+>", "", re.sub("</th><td>|</dt><dd>", ": ", page))))


def _flat(text: str) -> str:
    """Return the text with single spaces, as a person reads columns."""
    return re.sub(r"(?m)^ *([A-Z][\w -]*?)  +(?=\S)", r"\1: ", text)


@pytest.fixture
async def walk(tmp_path: Path) -> AsyncIterator[Walk]:
    async with walking(tmp_path, USER) as found:
        yield found


@asynccontextmanager
async def walking(tmp_path: Path, user: str) -> AsyncIterator[Walk]:
    """Yield a walk of this user."""
    policy = tmp_path / "policy.toml"
    classes = "\n".join(f'{name} = "ask"' for name in ActionClass)
    more = "[cards]\nunbounded = true\n[reveal]\nmodel = true\n"
    policy.write_text(f'version = 1\nenvironment = "embedded"\nusers = ["{user}"]\n[classes]\n{classes}\n{more}')
    policy.chmod(0o600)
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path / "state"), "MACHINES_POLICY": str(policy)}
    person = FakeApprover("cancel")
    async with in_process_sandbox() as sandbox, opened(read_settings(env), embedded=sandbox) as app:
        known = await _prepared(app, sandbox, user)
        async with Client(app.server(), elicitation_callback=person) as client:
            yield Walk(app, client, person, known)


async def _prepared(app: App, sandbox: InProcessSandbox, user: str) -> dict[str, Any]:
    async with sandbox.client() as partner:
        await partner.users.resolve(user)
        await sandbox.control("/kyc", userId=user, decision="approved")
        await partner.agreements.accept(user)
        card = await partner.cards.create(user, limit=CardLimit(amount_cents=5_000, frequency="per30DayPeriod"))
        await partner.cards.update(user, card.card_id, status="locked")
        deposit = await partner.deposits.create(user, "rusd", "base", amount=100)
        await sandbox.control("/deposits", depositId=deposit.id)
    terms = {name: VALUES[name] for name in _quote_arguments()} | {"estimated_to_amount": 12.3}
    quote = await Withdrawals(app.store).quote(user, terms)
    signed = await signed_withdrawal(app.store, user)
    return {"user_id": user, "card_id": card.card_id, "quote_id": str(quote.id), "withdrawal_id": signed}


def _quote_arguments() -> Iterator[str]:
    quoting = next(tool for tool in TOOLS if tool.name == "quote_withdrawal")
    return (name for name in quoting.input_model.model_fields if name != "user_id")


def _spelling(tool: str, name: str, value: Any) -> str:
    return str(SPELLED.get((tool, name)) or SPELLED.get(name) or MASKED.get(name) or value)


async def test_the_vaults_page_shows_every_argument_of_a_reveal(walk: Walk) -> None:
    reveal = next(tool for tool in TOOLS if tool.name == "reveal_card")
    given = walk.arguments(reveal) | {"sink": "page"}
    answer = await walk.client.call_tool("reveal_card", given)
    assert json.loads(object_text(answer))["code"] == "approval.required"
    ((waiting,), _) = await waiting_approvals(walk.app.settings)
    assert waiting.question.endswith("? You see it once, on a page on this computer.")
    options = PageOptions(
        handle="h" * 22,
        asked_by="",
        environment=walk.app.settings.environment,
        details=page_details(waiting),
        expires_at=waiting.expires_at,
    )
    request = VaultRequest(
        base_url="http://127.0.0.1:9",
        partner_key=Secret("key"),
        user_id=USER,
        card_id=given["card_id"],
        last4="1234",
        sink="page",
        page=options,
        deadline_seconds=PATIENCE,
    )
    page = _plain(PageView(request, "token").question().body.decode())
    for name, value in given.items():
        spelling = "You see it once, on a page on this computer" if name == "sink" else value
        assert spelling in page, f"{name} is not shown on the vault's page:\n{page}"
    for item in waiting.details.items:
        assert (item.label in page, (f"“{item.value}”" if item.by else item.value) in page) == (True, True)


@pytest.mark.parametrize("tool", [each for each in TOOLS if each is not cancel_approval], ids=lambda tool: tool.name)
async def test_every_argument_is_shown_wherever_a_person_decides(walk: Walk, tool: Tool) -> None:
    given = walk.arguments(tool)
    shown = await walk.surfaces(tool, given)
    assert shown.keys() == {"desk", "dialog", "terminal"}
    expected = {name: _spelling(tool.name, name, value) for name, value in given.items()}
    if tool.name == "create_withdrawal":
        expected |= {name: _spelling("", name, VALUES[name]) for name in _quote_arguments()}
    for surface, text in shown.items():
        for name, spelling in expected.items():
            if (tool.name, name) not in NOT_SHOWN:
                assert spelling in text, f"{name} is not shown in the {surface}:\n{text}"
    written = {
        value
        for name, value in ({name: VALUES[name] for name in expected if name in VALUES} | given).items()
        if isinstance(value, str) and not {name, (tool.name, name)} & {*SPELLED, *MASKED, *NOT_SHOWN, "admin_address"}
    }
    for surface in ("dialog", "terminal"):
        _judge_lines(shown[surface].splitlines(), written, first=0 if surface == "dialog" else 2)


def _judge_lines(lines: list[str], written: set[str], first: int) -> None:
    """Check that what the agent wrote is in no question, and in quotes in a marked line of its own."""
    question = lines[first]
    assert question.endswith(("?", ".")), question
    assert "“" not in question
    for value in written:
        assert not re.search(rf"\b{re.escape(value)}\b", question)
        (line,) = (line for line in lines if f": “{value}”" in line)
        assert "from the agent" in line
