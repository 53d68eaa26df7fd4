"""The person who decides: approves at a terminal, and opens card pages."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard
from machines_mcp.testing import decide, set_passphrase
from tests.leaks.browser import RecordingBrowser
from tests.leaks.canaries import Canaries


class StateFolderApprover:
    """Approves in the state folder of servers with these settings. Only the first approval uses the passphrase.

    The others use the same code without it. Hashing takes 0.1 s, which would dominate the client's time and does not
    concern the servers.
    """

    def __init__(self, env: Mapping[str, str], canaries: Canaries) -> None:
        self._env = env
        self._passphrase = canaries.passphrase
        self._browser = RecordingBrowser(canaries)
        self._typed = False

    async def set_passphrase(self) -> None:
        """Set the passphrase, before the first server starts."""
        await set_passphrase(self._env, self._passphrase)

    async def grant(self, approval_id: str) -> bool:
        """Approve. Return whether it took effect."""
        if not self._typed:
            self._typed = True
            return await decide(self._env, approval_id, passphrase=self._passphrase) == "granted"
        # Open the database for each decision, as the command does, so that it is closed when the next server opens it.
        async with open_guard(read_settings(self._env)) as guard:
            return await guard.approvals.grant(approval_id, "terminal")

    async def see(self, page: str) -> bool:
        """Open a card's page and enter the passphrase. The page may close with its server.

        Return False if the desk starts no page, as when too many are open: a page stays open after the card was seen.
        """
        with suppress(OSError, IndexError, ValueError):
            address = await self._browser.start_card_page(page)
            if address is None:
                return False
            await self._browser.see(address)
        return True
