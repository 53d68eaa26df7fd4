"""Poll for a change at the API's suggested interval and report progress. Cancellation stops it immediately."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from machines_mcp.partner import waiting
from machines_mcp.partner.waiting import H
from machines_mcp.tools.services import ServiceContext


async def wait_until(
    call: ServiceContext, fetch: Callable[[], Awaitable[H]], done: Callable[[H], bool], *, seconds: int, what: str
) -> tuple[H, bool]:
    """Poll for at most `seconds`; return the newest response and whether it is `done`."""

    async def report(share: float) -> None:
        await call.progress(share, what)

    return await waiting.wait_until(fetch, done, seconds=seconds, on_wait=report)
