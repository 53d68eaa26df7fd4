"""MCP clients in memory over a server and its simulator, and the person who decides."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal

import mcp_types as types
from mcp import Client
from mcp.client.context import ClientRequestContext

from machines_mcp.permissions.channels import Decision
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.app import opened
from machines_mcp.server.settings import read_settings
from machines_mcp.server.state_folder import opened_guard

Answer = Literal["accept", "decline", "cancel"]
"""What the person says to a dialog of the client."""
Era = Literal["auto", "legacy", "2026-07-28"]
"""The protocol that the client speaks: the newest that both know, the one with a handshake, or the one without."""


@asynccontextmanager
async def client(
    *,
    user_id: str | None = None,
    answer: Answer | None = "accept",
    mode: Era = "auto",
    state_dir: Path | None = None,
    read_only: bool = False,
    policy: Path | None = None,
) -> AsyncIterator[Client]:
    """An MCP client connected in memory to a server over a simulator of its own, gone with the block.

    `user_id` pins the server to one user. `answer` is what the person says to every dialog; None: the client has no
    dialog. `mode` is the protocol era. `state_dir` keeps the state, and shares it and the simulator with whatever else
    has that folder; without it the state is thrown away. `policy` is the path of the operator's policy.

    Raises:
        SettingsError: `user_id` is not valid.
        PolicyError: The policy is refused.
    """

    async def dialog(
        context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult | types.ErrorData:
        return types.ElicitResult(action=answer or "cancel", content={} if answer == "accept" else None)

    async with AsyncExitStack() as stack:
        folder = str(state_dir or stack.enter_context(tempfile.TemporaryDirectory(prefix="machines-testing-")))
        settings = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": folder}
        if user_id is not None:
            settings["MACHINES_USER_ID"] = user_id
        if read_only:
            settings["MACHINES_READ_ONLY"] = "true"
        if policy is not None:
            settings["MACHINES_POLICY"] = str(policy)
        app = await stack.enter_async_context(opened(read_settings(settings)))
        yield await stack.enter_async_context(
            Client(app.server(), mode=mode, elicitation_callback=dialog if answer else None)
        )


async def set_passphrase(env: Mapping[str, str], passphrase: str) -> None:
    """Set the person's passphrase in the state folder of a server with these settings (its MACHINES_ variables).

    Raises:
        ValueError: It is shorter than 8 or longer than 200 characters, or another one is set already.
    """
    async with opened_guard(read_settings(env)) as guard:
        if await guard.passphrase.set(Secret(passphrase)) != "right":
            raise ValueError("another passphrase is set already")


async def decide(env: Mapping[str, str], approval_id: str, *, yes: bool = True, passphrase: str = "") -> Decision:
    """Decide a waiting call of a server with these settings, as `machines-mcp approve` and `deny` do.

    `approval_id` is that of an `approval.required`. The answer is `granted` or `refused` where the decision was taken;
    else why not: `gone` (nothing waits under the id), `not_allowed` (the policy, or the call's own page, forbids a
    terminal), and outside `embedded`, where the passphrase counts, `wrong`, `locked` or `unset`. After `granted` the
    call runs once, when it is repeated with the same arguments and the `approval_id` within 5 minutes.
    """
    async with opened_guard(read_settings(env)) as guard:
        return await (guard.channels.grant if yes else guard.channels.refuse)(
            approval_id, "terminal", Secret(passphrase)
        )
