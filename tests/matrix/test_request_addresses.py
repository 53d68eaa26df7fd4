"""Request addresses contain no secret and no identity data, because servers, proxies and clients log addresses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from machines_mcp.partner import PartnerClient
from machines_mcp.redaction.output_filter import OutputFilter
from machines_mcp.redaction.secret import Secret
from tests.partner.test_against_sandbox import onboarded
from tests.support.cards_in import cards_in
from tests.support.in_process import InProcessTransport
from tests.support.running_sandbox import Sandbox
from tests.support.stdio_client import applicant
from tests.support.tool_caller import ToolCaller, caller

pytestmark = pytest.mark.anyio


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record the address of each request by any HTTP client of this process."""
    asked: list[str] = []

    def record(transport: Any) -> None:
        send = transport.handle_async_request

        async def recorded(self: Any, request: httpx.Request) -> httpx.Response:
            asked.append(str(request.url))
            return await send(self, request)

        monkeypatch.setattr(transport, "handle_async_request", recorded)

    # Over a socket, and to a simulator in this process.
    record(httpx.AsyncHTTPTransport)
    record(InProcessTransport)
    yield asked


async def _journey(found: ToolCaller) -> None:
    await found.call("create_session", purpose="kyc")
    await found.call("get_kyc_requirements", occupation_query="engineer")
    await found.approved()
    await found.call("get_kyc_status")
    deposit = await found.call("create_deposit", currency="rusd", network="base", amount=100)
    await found.call("get_deposit", deposit_id=deposit["deposit_id"], wait_seconds=20)
    card = await found.call("create_card", label="Groceries for Grace")
    await found.call("update_card", card_id=card["card_id"], label="Groceries of Grace")
    assert (await found.call("list_cards"))["cards"]
    await found.call("list_transactions", card_id=card["card_id"], types=["spend"])


async def test_journey_puts_no_secret_into_an_address(
    tmp_path: Path, addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = OutputFilter()
    learn = OutputFilter.add_secret
    learned: list[Secret] = []

    def recorded(self: OutputFilter, secret: Secret, *rest: float) -> None:
        learned.append(secret)
        learn(self, secret, *rest)

    monkeypatch.setattr(OutputFilter, "add_secret", recorded)
    async with caller(tmp_path) as found:
        await _journey(found)
    assert len(addresses) > 20
    assert len(learned) > 3
    for secret in learned:
        learn(guard, secret)
    person = [str(value) for name, value in applicant().items() if "country" not in name and len(str(value)) > 2]
    for address in addresses:
        assert not guard.contains_secret(address)
        assert not [value for value in (*person, "Groceries") if value in address]
        assert not cards_in(address)


async def test_reveal_puts_no_secret_into_an_address(sandbox: Sandbox, addresses: list[str]) -> None:
    guard = OutputFilter()

    def note(secret: Secret, until: float) -> None:
        guard.add_secret(secret)

    key = Secret(sandbox.partner_key)
    guard.add_secret(key)
    async with PartnerClient(sandbox.base_url, key, card_secrets=True, on_secret=note) as client:
        user = "matrix-reveal"
        await onboarded(client, user)
        card = await client.cards.create(user)
        session = await client.cards.secrets_session(user)
        for secret in (session.session_id, session.secret_key):
            guard.add_secret(secret)
        await client.cards.secrets(user, card.card_id, session.session_id)
    assert addresses[-1].endswith(f"/cards/{card.card_id}/secrets")
    assert not [address for address in addresses if guard.contains_secret(address) or "?" in address]
