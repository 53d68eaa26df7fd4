from __future__ import annotations

from collections.abc import Iterator

import pytest

from machines_mcp.redaction.secret import Secret
from machines_mcp.vault.request import VaultRequest
from tests.support.axe import axe_source
from tests.support.browser import Tab, chromium, tab
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


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    program = chromium()
    assert program is not None
    with tab(program, tmp_path_factory.mktemp("profile")) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return axe_source(tmp_path_factory.mktemp("axe"))
