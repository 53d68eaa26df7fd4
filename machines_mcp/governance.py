"""The operator's policy and the guard of a state folder, without a server: what commands need that only decide."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from machines_mcp.guard.policy import Policy, default_policy
from machines_mcp.guard.store import Store
from machines_mcp.settings import Settings

if TYPE_CHECKING:
    from machines_mcp.guard.wiring import Guard

CLOSE_SECONDS = 1.0


def policy_for(settings: Settings) -> Policy:
    """The operator's policy, or the one that holds without a file.

    Raises:
        PolicyError: The file is refused.
    """
    if settings.policy is None:
        return default_policy(settings.environment.value, read_only=settings.read_only)
    from machines_mcp.guard.policy_file import load_policy
    from machines_mcp.tools.catalogue import EFFECTS

    environment = settings.environment.value
    return load_policy(
        settings.policy, environment, read_only=settings.read_only, tools=EFFECTS, user_id=settings.user_id
    )


@asynccontextmanager
async def opened_guard(settings: Settings) -> AsyncIterator[Guard]:
    """The guard of the settings' state folder, let go of at the end. Nothing is asked of Machines.

    Raises:
        PolicyError: The policy's file is refused.
        StoreUnavailable: The state folder can't be used.
    """
    from machines_mcp.guard.wiring import wire_guard

    policy, store = policy_for(settings), Store(settings.state_dir)
    try:
        guard = wire_guard(store, policy)
        try:
            yield guard
        finally:
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                await guard.audit.close()
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await store.close()
