"""The sink `page`: serve one page on loopback until its reveal has ended."""

from __future__ import annotations

import sys

import anyio

from machines_mcp.vault.page import CardPage
from machines_mcp.vault.parent_pipe import ParentPipe
from machines_mcp.vault.request import VaultRequest
from machines_mcp.web.loopback import build_uvicorn, listen_on_loopback

_MAX_CONNECTIONS = 16

AFTER_SHOWN_SECONDS = 5.0
"""How long a page answers after the card's time. Without scripts, it is loaded again to hide the card."""
ENDED_SECONDS = 10.0
"""How long a page still answers how else it ended, to a window that waits or is reloaded."""
# Reserved for the final reply and for closing open connections.
_END_SECONDS = 2.0


async def serve_card_page(request: VaultRequest, pipe: ParentPipe) -> None:
    """Serve the page. The final reply is sent when this returns, well before the deadline."""
    with listen_on_loopback(_MAX_CONNECTIONS) as listener:
        port = listener.getsockname()[1]
        page = CardPage(request, pipe, port)
        # `__main__` hides click from httpx, but uvicorn needs it.
        sys.modules.pop("click", None)
        server = build_uvicorn(page, max_connections=_MAX_CONNECTIONS, handle_signals=True)
        with anyio.move_on_after(max(request.deadline_seconds - _END_SECONDS, 0.0)):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server.serve, [listener])
                # The port already accepts connections, so none is lost if the server starts slowly.
                pipe.send_listening(port)
                await page.finished.wait()
                pipe.reply(page.reply)
                if page.time is not None:
                    await page.time.passed()
                await anyio.sleep(ENDED_SECONDS if page.time is None else AFTER_SHOWN_SECONDS)
                server.should_exit = True
        pipe.reply(page.reply)
