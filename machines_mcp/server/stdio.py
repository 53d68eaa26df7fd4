"""Serve on stdin and stdout, and shut down in bounded time."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

import anyio

from machines_mcp.server.app import App, opened
from machines_mcp.server.preparation import Preparation
from machines_mcp.server.settings import Settings

STOP_SECONDS = 5.0
RECONCILE_DELAY_SECONDS = 0.5


async def serve(settings: Settings) -> None:
    """Serve MCP on stdin and stdout until the client disconnects or a signal arrives, then exit within 6 seconds."""
    from machines_mcp.protocol.eras import serve_client
    from machines_mcp.protocol.jsonrpc import OutgoingLines
    from machines_mcp.protocol.pipe_dispatcher import PipeDispatcher
    from machines_mcp.protocol.stdio import open_stdio

    _disable_core_dumps()
    async with opened(settings, opens_pages=True) as app:
        server = app.server()
        wire = OutgoingLines(app.output_filter)
        with anyio.CancelScope() as scope:

            def stop() -> None:
                _exit_after_deadline()
                scope.cancel()

            _stop_on_signals(stop)
            async with (
                open_stdio(wire, left=_exit_after_deadline, lost=stop) as (reader, writer),
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(_reconcile, app)
                preparation = Preparation(app)
                tasks.start_soon(preparation.run)
                await serve_client(server, PipeDispatcher(reader, writer), greeted=preparation.begin)
                tasks.cancel_scope.cancel()


async def _reconcile(app: App) -> None:
    # The client's first requests take priority.
    await anyio.sleep(RECONCILE_DELAY_SECONDS)
    await app.reconcile()


def _disable_core_dumps() -> None:
    """Disable core dumps, which would write the partner key and session tokens to a file."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _stop_on_signals(stop: Callable[[], None]) -> None:
    import asyncio

    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        with suppress(AttributeError, NotImplementedError, ValueError):
            asyncio.get_running_loop().add_signal_handler(getattr(signal, name), stop)


def _exit_after_deadline() -> None:
    """Exit the process in 5 seconds, even if a running call or the cleanup hangs."""
    import threading

    # A thread, because the event loop may be what hangs.
    timer = threading.Timer(STOP_SECONDS, os._exit, (0,))
    timer.daemon = True
    timer.start()
