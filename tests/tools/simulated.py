"""A client in memory over a simulator, as the project offers it to others, and what the tests call it with."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from mcp import Client

from machines_mcp.testing import client
from tests.journeys.stdio import applicant
from tests.support.results import object_text


@dataclass
class Caller:
    """Calls tools; an error comes back as its object."""

    client: Client
    state_dir: Path

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return dict(json.loads(object_text(await self.client.call_tool(tool, arguments))))

    async def control(self, path: str, /, **body: Any) -> None:
        """Move the simulator along by its control surface."""
        notes = json.loads((self.state_dir / "embedded" / "sandbox.json").read_text(encoding="utf-8"))
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(f"{notes['control_url']}{path}", json=body)
        assert answer.is_success, answer.text

    async def approved(self) -> None:
        """A user past KYC and agreements."""
        await self.call("submit_kyc", **applicant())
        assert (await self.call("accept_agreements"))["accepted"] is True


@asynccontextmanager
async def caller(folder: Path, user_id: str | None = "tool-user", **options: Any) -> AsyncIterator[Caller]:
    """A caller for one user on a simulator of its own."""
    async with client(user_id=user_id, state_dir=folder, **options) as found:
        yield Caller(found, folder)
