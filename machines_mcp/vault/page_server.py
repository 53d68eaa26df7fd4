"""The sink `page`: serve one page on loopback until its reveal has ended."""

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

# Reserved for the final reply and for closing open connections.
_END_SECONDS = 2.0


async def show(request: VaultRequest, dialogue: ParentPipe) -> None:
    """Serve the page. The final reply is sent when this returns, well before the deadline."""
    with _listener() as listener:
        port = listener.getsockname()[1]
        page = Page(request, dialogue, port)
        server = _server(page)
        with anyio.move_on_after(max(request.deadline_seconds - _END_SECONDS, 0.0)):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server.serve, [listener])
                # The port already accepts connections, so none is lost if the server starts slowly.
                dialogue.say_listening(port)
                await page.over.wait()
                dialogue.reply(page.reply)
                if page.reply.status == "shown":
                    # A reload still gets an answer: that the card was already shown. The card itself is gone.
                    await anyio.sleep(LINGER_SECONDS)
                server.should_exit = True
        dialogue.reply(page.reply)


def _listener() -> socket.socket:
    # asyncio sets TCP_NODELAY only on sockets created with IPPROTO_TCP.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if sys.platform == "win32":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(16)
    return listener


def _server(page: Page) -> uvicorn.Server:
    # `__main__` hides click from httpx, but uvicorn needs it.
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
