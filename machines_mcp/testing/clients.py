"""In-memory MCP clients for a server with its simulator, and decisions of the approver."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal

import mcp_types as types
from mcp import Client
from mcp.client.context import ClientRequestContext

from machines_mcp.permissions.decision import Decision
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.app import opened
from machines_mcp.server.partner_connection import EmbeddedApi
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard
from machines_mcp.testing.own_task import in_own_task
from machines_mcp.testing.simulators import joined

Answer = Literal["accept", "decline", "cancel"]
"""The person's answer to a client dialog. `accept` also chooses `approve` in its form."""
Era = Literal["auto", "legacy", "2026-07-28"]
"""The client's protocol: the newest that both sides support, the one with a handshake, or the one without."""


@in_own_task
async def client(
    *,
    user_id: str | None = None,
    answer: Answer | None = "accept",
    mode: Era = "auto",
    state_dir: Path | None = None,
    read_only: bool = False,
    policy: Path | None = None,
    own_process: bool = False,
) -> AsyncIterator[Client]:
    """Yield an in-memory MCP client for a server with its own simulator. All of them end with the block.

    `user_id` pins the server to one user. `answer` is the person's answer to every dialog; if None, the client has no
    dialog. `mode` is the protocol era. `state_dir` keeps the state, and shares it and the simulator with other users of
    the folder; without it, the state is deleted. `policy` is the path of the operator's policy. `own_process` starts
    the simulator as a process, not in a thread.

    Raises:
        SettingsError: `user_id` is not valid.
        PolicyError: The policy is refused.
        RuntimeError: No asyncio loop runs, for example under trio.
    """

    async with AsyncExitStack() as stack:
        folder = str(state_dir or stack.enter_context(tempfile.TemporaryDirectory(prefix="machines-testing-")))
        settings = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": folder}
        if user_id is not None:
            settings["MACHINES_USER_ID"] = user_id
        if read_only:
            settings["MACHINES_READ_ONLY"] = "true"
        if policy is not None:
            settings["MACHINES_POLICY"] = str(policy)
        embedded = joined(read_settings(settings).state_dir, own_process=own_process)
        made = connected(settings, answer=answer, mode=mode, embedded=embedded)
        yield await stack.enter_async_context(made)


@asynccontextmanager
async def connected(
    settings: Mapping[str, str],
    *,
    answer: Answer | None = "accept",
    mode: Era = "auto",
    embedded: EmbeddedApi | None = None,
) -> AsyncIterator[Client]:
    """Yield an in-memory MCP client for a server with these settings. `embedded` replaces the simulator process."""

    async def dialog(
        context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult | types.ErrorData:
        # An offered page has no form, and accepting it decides nothing.
        form = answer == "accept" and not isinstance(params, types.ElicitRequestURLParams)
        return types.ElicitResult(action=answer or "cancel", content={"decision": "approve"} if form else None)

    async with (
        opened(read_settings(settings), embedded=embedded) as app,
        Client(app.server(), mode=mode, elicitation_callback=dialog if answer else None) as made,
    ):
        yield made


async def set_passphrase(env: Mapping[str, str], passphrase: str) -> None:
    """Set the approval passphrase in the state folder of a server with these settings (its MACHINES_ variables).

    Raises:
        ValueError: It is shorter than 8 or longer than 200 characters, or another one is already set.
    """
    async with open_guard(read_settings(env)) as guard:
        if await guard.passphrase.set(Secret(passphrase)) != "right":
            raise ValueError("another passphrase is already set")


async def decide(env: Mapping[str, str], approval_id: str, *, yes: bool = True, passphrase: str = "") -> Decision:
    """Approve or refuse a waiting call of a server with these settings, like `machines-mcp approve` and `deny`.

    `approval_id` comes from an `approval.required` error. Returns `granted` or `refused`, or why there was no decision:
    `gone` (no call waits under the id), `not_allowed` (the policy, or the call's own page, forbids the terminal) or,
    outside `embedded`, `wrong`, `delayed` or `unset` for the passphrase. After `granted`, repeat the call with the same
    arguments and the `approval_id` within 5 minutes. It runs once.
    """
    async with open_guard(read_settings(env)) as guard:
        return await (guard.channels.grant if yes else guard.channels.refuse)(
            approval_id, "terminal", Secret(passphrase)
        )
