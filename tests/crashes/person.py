"""The person behind the users of a segment: says yes at a terminal, and looks at a card on its page."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from machines_mcp.server.settings import read_settings
from machines_mcp.server.state_folder import opened_guard
from machines_mcp.testing import decide, set_passphrase
from tests.leaks.browser import Browser
from tests.leaks.canaries import Canaries


class Person:
    """Decides over the state folder of servers with these settings. The first yes is said with the passphrase.

    The others are recorded by the same code without it: a tenth of a second of hashing for each would be most of what
    the client's side costs, and no server has a part in it.
    """

    def __init__(self, env: Mapping[str, str], canaries: Canaries) -> None:
        self._env = env
        self._passphrase = canaries.passphrase
        self._browser = Browser(canaries)
        self._typed = False

    async def set_passphrase(self) -> None:
        """Before the first server."""
        await set_passphrase(self._env, self._passphrase)

    async def grant(self, approval_id: str) -> bool:
        """Say yes; whether it counted."""
        if not self._typed:
            self._typed = True
            return await decide(self._env, approval_id, passphrase=self._passphrase) == "granted"
        # Opened for each, as the command does it: nobody holds the database when the next server finds it.
        async with opened_guard(read_settings(self._env)) as guard:
            return await guard.approvals.grant(approval_id, "terminal")

    async def see(self, page: str) -> None:
        """Open a card's page, which ends with its server, and type the passphrase there."""
        with suppress(OSError, IndexError, ValueError):
            await self._browser.see_card(page)
