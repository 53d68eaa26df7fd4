"""An environment for unusual states: a server, its simulator and a person, for one user after another."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import mcp_types as types
from mcp import Client, stdio_client

from machines_mcp.partner import PartnerClient
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.app import opened
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.testing import decide
from tests.support.approver import FakeApprover
from tests.support.in_process import InProcessSandbox, in_process_sandbox
from tests.support.known_users import introduce
from tests.support.stdio_client import Era, server
from tests.support.waiting import PATIENCE

TERMS = {
    "amount_cents": 2500,
    "currency": "rusd",
    "network": "base",
    "address": "0x" + "cd" * 20,
    "admin_address": "0x" + "7a" * 20,
}

_numbers = itertools.count(1)


@dataclass
class Environment:
    """A server with its simulator. `user` is the current user; `begin` switches to a new one."""

    client: Client
    person: FakeApprover
    env: dict[str, str]
    user: str = ""
    partner: PartnerClient | None = None
    http: httpx.AsyncClient | None = None
    control_url: str = ""
    sandbox: InProcessSandbox | None = None

    def begin(self) -> str:
        """Switch to a new user, or to the user that the server is pinned to."""
        self.user = self.env.get("MACHINES_USER_ID") or f"odd-{next(_numbers)}"
        self.person.answer = "accept"
        self.person.asked.clear()
        return self.user

    @property
    def api(self) -> PartnerClient:
        assert self.partner is not None
        return self.partner

    async def control(self, path: str, /, **body: Any) -> None:
        """Trigger an event that no API caller could."""
        assert self.http is not None
        answer = await self.http.post(f"{self.control_url}{path}", json=body)
        assert answer.is_success, answer.text

    async def prepare_user(self, kyc: str = "approved", *, agreed: bool = True, funded: bool = False) -> None:
        """Bring the user to this stage."""
        await self.api.users.resolve(self.user)
        await introduce(self.env, self.user)
        if kyc != "not_submitted":
            await self.control("/kyc", userId=self.user, decision=kyc)
        if kyc == "approved" and agreed:
            await self.api.agreements.accept(self.user)
            if funded:
                deposit = await self.api.deposits.create(self.user, "rusd", "base", amount=100)
                await self.control("/deposits", depositId=deposit.id)

    async def card(self) -> str:
        """Create a card of the user."""
        return str((await self.api.cards.create(self.user)).card_id)

    async def quote(self) -> str:
        """Quote a withdrawal for the user."""
        answer = await self.client.call_tool("quote_withdrawal", {"user_id": self.user, **TERMS})
        assert answer.structured_content is not None
        return str(answer.structured_content["quote_id"])

    async def request_approval(self, tool: str, **arguments: Any) -> str:
        """Make a call that needs approval and return its approval id."""
        answer = await self.client.call_tool(tool, {"user_id": self.user, **arguments})
        assert isinstance(answer.content[0], types.TextContent)
        return str(json.loads(answer.content[0].text)["approval_id"])

    async def decide(self, answer: dict[str, Any], *, yes: bool = True) -> None:
        """Decide the pending approval that a response names, at the terminal."""
        assert await decide(self.env, answer["approval_id"], yes=yes) == ("granted" if yes else "refused")

    def write(self, statement: str, *values: Any) -> None:
        """Change the server's own state, for example to simulate elapsed time."""
        with closing(sqlite3.connect(read_settings(self.env).state_dir / "state.db", timeout=PATIENCE)) as db, db:
            assert db.execute(statement, values).rowcount > 0


@asynccontextmanager
async def environment(
    folder: Path, era: Era | None = None, *, dialog: bool = True, **settings: str
) -> AsyncIterator[Environment]:
    """Run an in-memory server over a simulator in this process or, with `era`, a process over stdio."""
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder)} | settings
    person, sandbox = FakeApprover(), None
    answers = person if dialog else None
    async with AsyncExitStack() as stack:
        if era is None:
            sandbox = await stack.enter_async_context(in_process_sandbox())
            app = await stack.enter_async_context(opened(read_settings(env), embedded=sandbox))
            made = Client(app.server(), elicitation_callback=answers)
        else:
            made = Client(stdio_client(server(folder, **settings)), mode=era, elicitation_callback=answers)
        found = Environment(await stack.enter_async_context(made), person, env)
        await (_meet(found, folder, stack) if sandbox is None else _take(found, sandbox, stack))
        yield found


async def _take(found: Environment, sandbox: InProcessSandbox, stack: AsyncExitStack) -> None:
    found.sandbox, found.control_url = sandbox, sandbox.control_url
    found.http = await stack.enter_async_context(sandbox.http())
    found.partner = await stack.enter_async_context(sandbox.client())


async def _meet(found: Environment, folder: Path, stack: AsyncExitStack) -> None:
    # The simulator starts with the first call that needs the Partner API, which one of these calls is.
    await introduce(found.env, "nobody")
    for tool in ("get_kyc_status", "list_cards", "get_balances", "list_withdrawal_assets"):
        await found.client.call_tool(tool, {} if "MACHINES_USER_ID" in found.env else {"user_id": "nobody"})
    notes = json.loads((folder / "embedded" / "sandbox.json").read_text(encoding="utf-8"))
    found.control_url = notes["control_url"]
    found.http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
    partner = PartnerClient(notes["base_url"], Secret(notes["partner_key"]))
    found.partner = await stack.enter_async_context(partner)
