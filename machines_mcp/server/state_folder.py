"""Open the operator's policy and the guard of a state folder without a server, for commands that need no API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from machines_mcp.permissions.policy import Policy, default_policy
from machines_mcp.server.settings import Settings
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import Principal

if TYPE_CHECKING:
    from machines_mcp.permissions.factory import Guard

CLOSE_SECONDS = 1.0


def load_operator_policy(settings: Settings) -> Policy:
    """Load the operator's policy, or the default policy if no file is set.

    Raises:
        PolicyError: The file is invalid.
    """
    if settings.policy is None:
        return default_policy(settings.environment.value, read_only=settings.read_only)
    return load_policy_file(
        settings.policy, settings.environment.value, read_only=settings.read_only, user_id=settings.user_id
    )


def load_policy_file(path: Path, environment: str, *, read_only: bool, user_id: str | None) -> Policy:
    """Load a policy file and validate it against the existing tools.

    Raises:
        PolicyError: The file is invalid.
    """
    from machines_mcp.permissions.policy_loader import load_policy
    from machines_mcp.tools.catalog import ACTION_CLASSES

    return load_policy(
        path, environment, read_only=read_only, tools=ACTION_CLASSES, thumbprint=_thumbprint, user_id=user_id
    )


def _thumbprint(key: bytes) -> str:
    from machines_mcp.vault.public_key import thumbprint

    return thumbprint(key)


@asynccontextmanager
async def open_guard(settings: Settings, policy: Policy | None = None) -> AsyncIterator[Guard]:
    """Open the guard of the settings' state folder, and close it at the end. Does not call Machines.

    Without a `policy`, it is that of the settings.

    Raises:
        PolicyError: The policy file is invalid.
        StoreUnavailable: The state folder can't be used.
    """
    from machines_mcp.permissions.factory import build_guard

    policy, store = policy or load_operator_policy(settings), Store(settings.state_dir)
    try:
        guard = build_guard(store, policy, Principal.of(settings.user_id, policy.users))
        try:
            yield guard
        finally:
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                await guard.audit.close()
            guard.locks.close()
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await store.close()
