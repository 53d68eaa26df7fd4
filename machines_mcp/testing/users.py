"""A user who is past sign-up, in one line: where most tests of an agent begin."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import Client

from machines_mcp.permissions.channels import Decision
from machines_mcp.testing.clients import Answer, Era, client, decide
from machines_mcp.testing.simulators import Simulator, simulator

COIN, NETWORK, CENTS_A_COIN = "rusd", "base", 100
LEAST_CENTS = 100


@dataclass(frozen=True, slots=True)
class ReadyUser:
    """A user and all that a test needs of them. `client` is an MCP client in memory, pinned to the user."""

    user_id: str
    client: Client
    simulator: Simulator

    @property
    def env(self) -> dict[str, str]:
        """The settings of a server of one's own for this user over the same simulator, as a process or in a config."""
        return self.simulator.env | {"MACHINES_USER_ID": self.user_id}

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool: its structured result, or the error's object, which has a `code` and a `message`."""
        answer = await self.client.call_tool(tool, arguments)
        return answer.structured_content or dict(json.loads(getattr(answer.content[0], "text", "{}")))

    async def decide(self, approval_id: str, *, yes: bool = True) -> Decision:
        """Decide a waiting call as a person at a terminal does; `machines_mcp.testing.decide` says what comes back."""
        return await decide(self.env, approval_id, yes=yes)


@asynccontextmanager
async def ready_user(
    user_id: str = "user-1",
    *,
    balance_cents: int = 100_00,
    answer: Answer | None = "accept",
    mode: Era = "auto",
    state_dir: Path | None = None,
) -> AsyncIterator[ReadyUser]:
    """A user past the identity check and the agreements who can spend `balance_cents` (0: not funded), for the block.

    `answer` is what the person says to every dialog; None: the client has no dialog, so that what needs a person waits
    for `decide`. `mode` is the protocol era, `state_dir` a folder to keep and share (`simulator` says how).

    Raises:
        ValueError: The balance is less than one deposit brings, 100 cents.
        SandboxFailed: The simulator did not start within 15 seconds.
    """
    if balance_cents and balance_cents < LEAST_CENTS:
        raise ValueError(f"balance_cents must be 0, or {LEAST_CENTS} or more")
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(simulator(state_dir))
        await _sign_up(found, user_id, balance_cents)
        opened = client(user_id=user_id, answer=answer, mode=mode, state_dir=found.state_dir)
        yield ReadyUser(user_id, await stack.enter_async_context(opened), found)


async def _sign_up(found: Simulator, user_id: str, balance_cents: int) -> None:
    from machines_mcp.partner import PartnerClient

    async with PartnerClient(found.endpoint.base_url, found.endpoint.partner_key) as partner:
        await partner.users.resolve(user_id)
        await found.finish_kyc(user_id)
        await partner.agreements.accept(user_id)
        if balance_cents:
            deposit = await partner.deposits.create(user_id, COIN, NETWORK, amount=balance_cents / CENTS_A_COIN)
            await found.complete_deposit(deposit.id)
