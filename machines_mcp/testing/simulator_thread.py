"""The simulator in a thread of this process, which starts without the time of a new interpreter.

It serves on loopback and keeps a lease, like the process. So the servers of other processes can join it.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import SocketStream

from machines_mcp.server.sandbox_process import Release

_END_SECONDS = 1.0


async def start_thread(database: Path, chain: bool = False) -> tuple[dict[str, Any], Release]:
    """Start the simulator, and return what it announced and the function that releases it.

    Raises:
        OSError: It could not start.
    """
    announced: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    thread = threading.Thread(target=_serve, args=(database, chain, announced), name="machines-sandbox", daemon=True)
    thread.start()
    known = await anyio.to_thread.run_sync(announced.get, abandon_on_cancel=True)
    if known is None:
        raise OSError("the simulator did not start")
    # If this is cancelled, the simulator ends by itself, because nobody holds it.
    lease = await anyio.connect_tcp("127.0.0.1", known["lease_port"])

    async def release() -> None:
        await _release(lease, thread)

    return known, release


def _serve(database: Path, chain: bool, announced: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    from machines_mcp.sandbox.process import Options, run

    try:
        run(Options(0, database, reset=False, leased=True, stdin=False, chain=chain), announced.put)
    except (OSError, sqlite3.DatabaseError):
        pass
    finally:
        announced.put(None)


async def _release(lease: SocketStream, thread: threading.Thread) -> None:
    await lease.aclose()
    # It stops at once if this was the last lease. Otherwise others still use it.
    await anyio.to_thread.run_sync(thread.join, _END_SECONDS, abandon_on_cancel=True)
