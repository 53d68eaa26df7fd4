"""The public methods of the Partner API client, read from the client itself."""

from __future__ import annotations

import inspect

from machines_mcp.partner import PartnerClient
from machines_mcp.redaction.secret import Secret


def client_methods() -> list[str]:
    """Return every method that sends a request, such as `cards.list`."""
    client = PartnerClient("https://api.example/partner/v1", Secret("partner-key"))
    resources = {name: getattr(client, name) for name in dir(client) if not name.startswith("_")}
    return [
        f"{resource}.{name}"
        for resource, part in resources.items()
        if not inspect.isroutine(part)
        for name, _ in inspect.getmembers(part, inspect.iscoroutinefunction)
        # `acquire` mints tokens for other calls. Its responses are those of `sessions.open`.
        if not name.startswith("_") and name != "acquire"
    ]
