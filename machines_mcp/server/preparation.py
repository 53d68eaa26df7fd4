"""Load what a client's next requests need while it thinks, after the response to its first one.

A request that comes meanwhile loads what is left itself, so it waits no longer than without this.
"""

from __future__ import annotations

import logging
from importlib import import_module

import anyio

from machines_mcp.server.app import App

logger = logging.getLogger(__name__)

# The event loop waits while one is imported: 1 to 8 ms each.
_MODULES = (
    *("machines_mcp.permissions.approval", "machines_mcp.protocol.tool", "machines_mcp.permissions.authorizer"),
    *("machines_mcp.protocol.dispatcher", "machines_mcp.protocol.reconciliation", "machines_mcp.permissions.factory"),
    *("machines_mcp.tools.services", "machines_mcp.tools.status", "machines_mcp.tools.agreements"),
    *("machines_mcp.tools.balances", "machines_mcp.tools.cards", "machines_mcp.tools.deposits"),
    *("machines_mcp.tools.kyc", "machines_mcp.tools.withdrawals", "machines_mcp.server.components"),
)
# Between two steps, so that a request finds the loop waiting for it more often than not.
PAUSE_SECONDS = 0.005


class Preparation:
    """Prepares one server in short steps, once `begin` is called."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._begun = anyio.Event()

    def begin(self) -> None:
        """Let it begin, after the line that is now being written. Later calls do nothing."""
        self._begun.set()

    async def run(self) -> None:
        """Open the store, load the modules, connect the components and describe the tools.

        Never raises: a request that needs what could not be loaded reports why.
        """
        await self._begun.wait()
        try:
            await self._app.store.read(lambda _: None)
            for name in _MODULES:
                await anyio.sleep(PAUSE_SECONDS)
                import_module(name)
            registry = self._app.load().registry
            for tool in registry.tools.values():
                await anyio.sleep(PAUSE_SECONDS)
                registry.described(tool)
        except Exception as error:
            logger.debug("the server could not be prepared: %s", type(error).__name__)
