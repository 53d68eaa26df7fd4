"""The sink `page`: serve one page on loopback until a person has seen the card, or has not; then the end."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import anyio

from machines_mcp.vault.page import LINGER_SECONDS, Page
from machines_mcp.vault.parent_pipe import ParentPipe
from machines_mcp.vault.request import VaultRequest

if TYPE_CHECKING:
    import uvicorn

# What the end takes: the last reply, and connections that are still open.
_END_SECONDS = 2.0


async def show(request: VaultRequest, dialogue: ParentPipe) -> None:
    """Serve the page; the dialogue has the last word said when this returns, well before the deadline."""
    with _listener() as listener:
        port = listener.getsockname()[1]
        page = Page(request, dialogue, port)
        server = _server(page)
        with anyio.move_on_after(max(request.deadline_seconds - _END_SECONDS, 0.0)):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server.serve, [listener])
                # The port takes connections since before it is told: none is lost, however slowly the server starts.
                dialogue.say_listening(port)
                await page.over.wait()
                dialogue.reply(page.reply)
                if page.reply.status == "shown":
                    # A reload is told that it came too late; what would show the card is gone already.
                    await anyio.sleep(LINGER_SECONDS)
                server.should_exit = True
        dialogue.reply(page.reply)


def _listener() -> socket.socket:
    # Named as TCP, for asyncio to send small answers at once.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if sys.platform == "win32":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(16)
    return listener


def _server(page: Page) -> uvicorn.Server:
    # The start of the process hides it, to spare httpx its command line; uvicorn can't do without.
    sys.modules.pop("click", None)
    import uvicorn

    config = uvicorn.Config(
        page,
        http="h11",
        ws="none",
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        limit_concurrency=16,
        h11_max_incomplete_event_size=16 * 1024,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)
