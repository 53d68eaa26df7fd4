"""An in-memory client over a simulator in this process, and helpers for calls."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import Client

from machines_mcp.testing import Answer, Era
from machines_mcp.testing.clients import connected
from tests.support.in_process import InProcessSandbox, in_process_sandbox
from tests.support.results import object_text
from tests.support.stdio_client import applicant

WALLET = "0x" + "7a" * 20
"""The EVM wallet of users who are approved."""


@dataclass
class ToolCaller:
    """Calls tools. Errors are returned as their object."""

    client: Client
    state_dir: Path
    sandbox: InProcessSandbox
    user_id: str | None = None

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return dict(json.loads(object_text(await self.client.call_tool(tool, arguments))))

    async def control(self, path: str, /, **body: Any) -> None:
        """Call the simulator's control API."""
        await self.sandbox.control(path, **body)

    async def approved(self) -> None:
        """Link a wallet, submit the KYC data and accept the agreements."""
        if self.user_id is not None:
            await self.sandbox.link_wallet(self.user_id, WALLET)
        await self.call("submit_kyc", **applicant())
        assert (await self.call("accept_agreements"))["accepted"] is True


@asynccontextmanager
async def caller(
    folder: Path,
    user_id: str | None = "tool-user",
    *,
    answer: Answer | None = "accept",
    mode: Era = "auto",
    read_only: bool = False,
    policy: Path | None = None,
    sandbox: InProcessSandbox | None = None,
    more: Mapping[str, str] | None = None,
) -> AsyncIterator[ToolCaller]:
    """Return a caller for one user, with a new simulator or with `sandbox`, and with `more` settings."""
    settings = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder), **(more or {})}
    if user_id is not None:
        settings["MACHINES_USER_ID"] = user_id
    if read_only:
        settings["MACHINES_READ_ONLY"] = "true"
    if policy is not None:
        settings["MACHINES_POLICY"] = str(policy)
    async with AsyncExitStack() as stack:
        if sandbox is None:
            sandbox = await stack.enter_async_context(in_process_sandbox())
        client = await stack.enter_async_context(connected(settings, answer=answer, mode=mode, embedded=sandbox))
        yield ToolCaller(client, folder, sandbox, user_id)
