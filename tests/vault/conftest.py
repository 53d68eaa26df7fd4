from __future__ import annotations

from collections.abc import Iterator

import pytest

from machines_mcp.redaction.secret import Secret
from machines_mcp.vault.request import VaultRequest
from tests.support.vault_simulator import OpenedCard, Simulator, simulator


@pytest.fixture
def request_to_closed_port() -> VaultRequest:
    """A valid request to a port without a listener (9 is discard's)."""
    return VaultRequest(
        base_url="http://127.0.0.1:9/partner/v1",
        partner_key=Secret("key-under-test"),
        user_id="user-1",
        card_id="card-under-test",
        last4="0421",
        sink="none",
        deadline_seconds=20.0,
    )


@pytest.fixture(scope="module")
def api() -> Iterator[Simulator]:
    with simulator() as running:
        yield running


@pytest.fixture(scope="module")
def card(api: Simulator) -> OpenedCard:
    return api.card("user-1")
