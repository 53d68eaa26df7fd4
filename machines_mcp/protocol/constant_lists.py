"""Lists that don't change while the server runs: each is written once for each protocol version.

A client that takes views has lists of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from mcp.server.connection import Connection
from mcp_types import methods
from pydantic_core import to_json

from machines_mcp.protocol.apps import takes_views
from machines_mcp.protocol.exchange import Params
from machines_mcp.protocol.written import WrittenResult

METHODS = frozenset({"tools/list", "prompts/list", "resources/list", "resources/templates/list"})


class ConstantLists:
    """The lists of one server. None of them has a second page, so every cursor gets the whole list."""

    def __init__(self) -> None:
        self._written: dict[tuple[str, str, bool], WrittenResult] = {}

    async def get(
        self, connection: Connection, method: str, params: Params, make: Callable[[], Awaitable[dict[str, Any]]]
    ) -> dict[str, Any]:
        """Return a list. `make` has the SDK check the request and make the result.

        Raises:
            MCPError: The request is refused.
            ValidationError: The params are invalid.
        """
        version = connection.protocol_version
        key = method, version, takes_views(connection.client_capabilities)
        written = self._written.get(key)
        if written is None or not connection.initialize_accepted:
            result = await make()
            written = self._written[key] = WrittenResult(result, to_json(result).decode())
        else:
            methods.validate_client_request(method, version, params)
        return written
