"""Find the page of the simulator that a server uses: the embedded one, or one at MACHINES_API_URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from machines_mcp.server.settings import Settings

API_PATH, CONTROL_PATH = "/partner/v1", "/control"
KEY_PREFIX = "sandbox-partner-"
"""The beginning of the partner keys that simulators make. The real API has no such keys."""


async def find_simulator_page(settings: Settings) -> str | None:
    """Return the address of the page; None if the API is no simulator, or if the embedded one does not run.

    Starts nothing, and sends nothing to an API.
    """
    if settings.simulated:
        from machines_mcp.server.sandbox_process import running_page

        return await running_page(settings.state_dir)
    url, key = settings.api_url or "", settings.partner_key
    if key is None or not key.expose().startswith(KEY_PREFIX) or not url.startswith("http://"):
        return None
    # Without TLS, the API is on this machine.
    return url.removesuffix(API_PATH) + CONTROL_PATH if url.endswith(API_PATH) else None
