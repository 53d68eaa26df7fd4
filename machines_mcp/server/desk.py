"""Connect the desk to its server, and open its pages in a browser."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import anyio

from machines_mcp.desk.dependencies import DeskDependencies, Fulfilled, Take
from machines_mcp.desk.server import Desk
from machines_mcp.protocol.errors import ToolError
from machines_mcp.server.browser import open_page
from machines_mcp.storage.state_keys import state_key
from machines_mcp.tools.catalog import TOOLS

if TYPE_CHECKING:
    from machines_mcp.partner import KycValues
    from machines_mcp.server.app import App
    from machines_mcp.server.settings import Settings


class NoDesk(Exception):
    """No desk could be started. The message says what to do."""


class ServerDesk:
    """The desk of one server. With `opens_pages`, pages open in a browser on this machine."""

    def __init__(self, app: App, *, opens_pages: bool) -> None:
        self._app = app
        self._opens_pages = opens_pages
        settings = app.settings
        self.desk = Desk(
            DeskDependencies(
                environment=settings.environment.value,
                guard=app.guard,
                key=state_key(settings.state_dir, "desk"),
                titles={tool.name: tool.title for tool in TOOLS},
                kyc_values=self._kyc_values,
                fulfil=self._fulfil,
                pinned_user=settings.user_id,
            )
        )

    async def address(self, path: str = "") -> str | None:
        """Start the desk if needed, open a tab if allowed, and return the URL of `path`; None if it can't start."""
        home = await self.desk.address()
        if home is None:
            return None
        if self._opens_pages:
            open_page(home + path, self._app.settings.state_dir)
        return home + path

    async def _kyc_values(self, user_id: str) -> KycValues:
        return await (await self._app.connection.client()).kyc.values(user_id)

    async def _fulfil(self, approval_id: str, values: Mapping[str, str], take: Take) -> Fulfilled:
        try:
            return Fulfilled(await self._app.load().dispatcher.fulfil(approval_id, values, take))
        except ToolError as tool_error:
            faults = tuple((fault.field, fault.rule) for fault in tool_error.fields)
            waits = await self._app.guard.channels.get(approval_id) is not None
            return Fulfilled("faulty" if waits else "failed", faults, tool_error.message)


async def run_desk(
    settings: Settings, *, say: Callable[[str, bool], None], warn: Callable[[str], None], opens: bool
) -> None:
    """Report the URL of the running desk. If there is none, serve one here until a signal arrives.

    Raises:
        NoDesk: No loopback port is available.
        StoreUnavailable: The state folder can't be used.
    """
    from machines_mcp.server.app import opened

    async with opened(settings) as app:
        desk = app.desk.desk
        found = await desk.find()
        address = found or await desk.address()
        if address is None:
            raise NoDesk(
                "The desk could not start: no port on 127.0.0.1 is available. Check whether a firewall blocks it."
            )
        with anyio.open_signal_receiver(*_ENDING) as signals:
            say(address, found is None)
            if opens and not open_page(address, settings.state_dir, at_once=True):
                warn("No browser could be opened. Open the address yourself.")
            if found is None:
                warn("This command serves the desk. Press Ctrl-C to stop.")
                async for _ in signals:
                    return


_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
