"""A client of a server process over stdio, and a person who answers its dialogs."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from mcp import Client, StdioServerParameters, stdio_client

from machines_mcp.tools.example_identity import IDENTITY
from tests.support.approver import FakeApprover
from tests.support.results import object_text
from tests.support.waiting import PATIENCE

Era = Literal["legacy", "2026-07-28"]
ERAS: tuple[Era, ...] = ("legacy", "2026-07-28")


class ToolError(Exception):
    """A tool's error, as the object in its text."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(json.dumps(body))
        self.body = body

    @property
    def code(self) -> str:
        return str(self.body["code"])

    @property
    def next_tool(self) -> str | None:
        steps = self.body["next_steps"]
        return steps[0]["tool"] if steps else None


@dataclass
class Agent:
    """Calls tools, for `who` if given, and returns their structured results."""

    client: Client
    person: FakeApprover
    who: str | None = None

    async def call(self, tool: str, arguments: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        given = {**(arguments or {}), **more}
        if self.who is not None and tool != "status":
            given = {"user_id": self.who} | given
        with anyio.fail_after(PATIENCE):
            answer = await self.client.call_tool(tool, given)
        if answer.is_error:
            assert answer.structured_content is None
            raise ToolError(json.loads(object_text(answer)))
        assert answer.structured_content is not None
        assert json.loads(object_text(answer)) == answer.structured_content
        assert "•••" not in object_text(answer), "the guard masked what is no secret"
        return dict(answer.structured_content)

    async def refusal(self, tool: str, **arguments: Any) -> tuple[str, str | None]:
        """Return the code and the next tool of the error that the call must give."""
        with pytest.raises(ToolError) as caught:
            await self.call(tool, arguments)
        return caught.value.code, caught.value.next_tool

    async def to_funded(self) -> None:
        """Complete steps 1 to 9."""
        await self.call("create_session", purpose="kyc")
        await self.call("resolve_user")
        await self.call("submit_kyc", applicant())
        await self.call("accept_agreements")
        deposit = await self.call("create_deposit", currency="rusd", network="base", amount=100)
        await self.call("get_deposit", deposit_id=deposit["deposit_id"], wait_seconds=30)


def server(state_dir: Path, **settings: str) -> StdioServerParameters:
    """Return the command that a client's config uses to start the server."""
    # With CI set, no page opens in a browser on the test machine.
    env = {"CI": "1", "MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(state_dir)} | settings
    return StdioServerParameters(command=sys.executable, args=["-m", "machines_mcp", "serve"], env=env)


@asynccontextmanager
async def agent(
    state_dir: Path, era: Era, *, dialog: bool = True, who: str | None = None, **settings: str
) -> AsyncIterator[Agent]:
    """Return an agent on its own server, with or without a dialog."""
    person = FakeApprover()
    transport = stdio_client(server(state_dir, **settings))
    async with Client(transport, mode=era, elicitation_callback=person if dialog else None) as client:
        yield Agent(client, person, who)


def applicant(last_name: str = "Approved") -> dict[str, Any]:
    """Return an applicant's data by the form's field names."""
    return {**IDENTITY, "last_name": last_name}
