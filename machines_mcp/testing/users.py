"""A signed-up user in one line, as the starting point for tests of an agent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import Client

from machines_mcp.permissions.decision import Decision
from machines_mcp.testing.clients import Answer, Era, client, decide
from machines_mcp.testing.own_task import in_own_task
from machines_mcp.testing.simulators import Simulator, simulator

COIN, NETWORK, CENTS_A_COIN = "rusd", "base", 100
LEAST_CENTS = 100
WALLET = "0x" + "7a" * 20
"""The EVM wallet of the user. Nobody has its key."""


class CallFailed(Exception):
    """A tool returned an error. `code` and `message` are the error's; `payload` is the whole error object."""

    def __init__(self, tool: str, payload: Mapping[str, Any]) -> None:
        self.tool = tool
        self.payload = dict(payload)
        self.code = str(payload.get("code", ""))
        self.message = str(payload.get("message", ""))
        super().__init__(f"{tool}: {self.code}: {self.message}")

    def __reduce__(self) -> tuple[type[CallFailed], tuple[str, dict[str, Any]]]:
        return CallFailed, (self.tool, self.payload)


@dataclass(frozen=True, slots=True)
class ReadyUser:
    """A signed-up user for a test. `client` is an in-memory MCP client, pinned to the user."""

    user_id: str
    client: Client
    simulator: Simulator

    @property
    def env(self) -> dict[str, str]:
        """The settings for running another server for this user over the same simulator."""
        return self.simulator.env | {"MACHINES_USER_ID": self.user_id}

    async def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its structured result.

        Raises:
            CallFailed: The tool returned an error, for example because the call needs an approval.
        """
        answer = await self.client.call_tool(tool, arguments)
        content = answer.structured_content or dict(json.loads(getattr(answer.content[0], "text", "{}")))
        if answer.is_error:
            raise CallFailed(tool, content)
        return content

    async def try_call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its structured result, or the error object with `code` and `message`."""
        try:
            return await self.call(tool, **arguments)
        except CallFailed as failed:
            return failed.payload

    async def decide(self, approval_id: str, *, yes: bool = True) -> Decision:
        """Approve or refuse a waiting call like a person at a terminal; see `machines_mcp.testing.decide`."""
        return await decide(self.env, approval_id, yes=yes)


@in_own_task
async def ready_user(
    user_id: str = "user-1",
    *,
    balance_cents: int = 100_00,
    answer: Answer | None = "accept",
    mode: Era = "auto",
    state_dir: Path | None = None,
    own_process: bool = False,
) -> AsyncIterator[ReadyUser]:
    """Yield a user with a wallet, past the identity check and the agreements, who can spend `balance_cents`.

    A balance of 0 makes no deposit. `answer` is the person's answer to every dialog. If None, the client has no dialog,
    so calls that need approval wait for `decide`. `mode` is the protocol era. `state_dir` is a folder to keep and
    share, and `own_process` starts the simulator as a process (see `simulator`).

    Raises:
        ValueError: The balance is below the smallest deposit, 100 cents.
        SandboxFailed: The simulator did not start within 15 seconds.
        RuntimeError: No asyncio loop runs, for example under trio.
    """
    if balance_cents and balance_cents < LEAST_CENTS:
        raise ValueError(f"balance_cents must be 0, or {LEAST_CENTS} or more")
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(simulator(state_dir, own_process=own_process))
        await _sign_up(found, user_id, balance_cents)
        opened = client(user_id=user_id, answer=answer, mode=mode, state_dir=found.state_dir)
        yield ReadyUser(user_id, await stack.enter_async_context(opened), found)


async def _sign_up(found: Simulator, user_id: str, balance_cents: int) -> None:
    from machines_mcp.partner import PartnerClient

    async with PartnerClient(found.endpoint.base_url, found.endpoint.partner_key) as partner:
        await partner.users.resolve(user_id, wallet_address=WALLET)
        await found.finish_kyc(user_id)
        await partner.agreements.accept(user_id)
        if balance_cents:
            deposit = await partner.deposits.create(user_id, COIN, NETWORK, amount=balance_cents / CENTS_A_COIN)
            await found.complete_deposit(deposit.id)
