"""The connection of a 2026-07-28 request, from its envelope."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.server.connection import Connection
from mcp_types.version import LATEST_MODERN_VERSION

from machines_mcp.protocol.eras import Envelopes

NAMES: list[Any] = [{"name": "a", "version": "1"}, {"name": "b", "version": "1"}, None, {"name": 1}, "a", []]
CAPABILITIES: list[Any] = [{}, {"elicitation": {"form": {}}}, {"elicitation": {"url": {}}}, None, {"sampling": 1}, "a"]
PAIRS = [(name, capabilities) for name in NAMES for capabilities in CAPABILITIES]


def shown(connection: Connection) -> tuple[Any, ...]:
    return (
        connection.protocol_version,
        connection.client_params,
        connection.client_capabilities,
        connection.initialize_accepted,
    )


@pytest.mark.parametrize("first", PAIRS, ids=str)
def test_each_request_has_the_values_of_its_own_envelope(first: tuple[Any, Any]) -> None:
    envelopes = Envelopes()
    for pair in (first, first, *PAIRS, first):
        expected = Connection.from_envelope(LATEST_MODERN_VERSION, *pair)
        assert shown(envelopes.connection(LATEST_MODERN_VERSION, *pair)) == shown(expected)


def test_requests_share_no_connection() -> None:
    envelopes = Envelopes()
    one, other = (envelopes.connection(LATEST_MODERN_VERSION, NAMES[0], CAPABILITIES[1]) for _ in range(2))
    assert one is not other
