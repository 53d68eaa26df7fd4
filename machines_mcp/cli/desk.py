"""Find the running desk or serve one, for `machines-mcp desk`."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from machines_mcp.server.app import opened
from machines_mcp.server.browser import open_page

if TYPE_CHECKING:
    from machines_mcp.server.settings import Settings

_STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class DeskUnavailable(Exception):
    """No desk could be started. The message says what to do."""


async def run_desk(
    settings: Settings, *, say: Callable[[str, bool], None], warn: Callable[[str], None], opens: bool
) -> None:
    """Report the URL of the running desk. If there is none, serve one here until a signal arrives.

    Raises:
        DeskUnavailable: No loopback port is available.
        StoreUnavailable: The state folder can't be used.
    """
    async with opened(settings) as app:
        desk = app.desk.desk
        found = await desk.find()
        address = found or await desk.address()
        if address is None:
            raise DeskUnavailable(
                "The desk could not start: no port on 127.0.0.1 is available. Check whether a firewall blocks it."
            )
        with anyio.open_signal_receiver(*_STOP_SIGNALS) as signals:
            say(address, found is None)
            if opens and not open_page(address, settings.state_dir, at_once=True):
                warn("No browser could be opened. Open the address yourself.")
            if found is None:
                warn("This command serves the desk. Press Ctrl-C to stop.")
                async for _ in signals:
                    return
