"""Users whom a state folder knows, as if a server had resolved them."""

from __future__ import annotations

from collections.abc import Mapping

from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard


async def introduce(env: Mapping[str, str], *users: str) -> None:
    """Let the servers with these settings know the users, who exist at Machines."""
    async with open_guard(read_settings(env)) as guard:
        for user_id in users:
            await guard.known_users.succeeded(user_id, changed=True)
