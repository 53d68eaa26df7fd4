"""The whole journey by following `next_steps` only, with a server process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journeys.walker import Walker
from tests.support.stdio_client import ERAS, Agent, Era, agent, applicant

pytestmark = pytest.mark.anyio

JOURNEY = [
    "status",
    "create_session",
    "resolve_user",
    "get_kyc_requirements",
    "submit_kyc",
    "get_agreements",
    "accept_agreements",
    "list_deposit_assets",
    "quote_deposit",
    "create_deposit",
    "get_deposit",
    "get_balances",
    "create_session",
    "create_card",
    "reveal_card",
]


DATA = applicant() | {"amount": 100, "label": "Books", "limit_amount_cents": 5000, "limit_frequency": "per30DayPeriod"}
VERIFIED = {"status": "verified"}


async def test_next_steps_lead_from_nothing_to_a_verified_card(user: Agent) -> None:
    walker = Walker(user.client, DATA | {"user_id": user.who})
    await walker.walk("status", VERIFIED)
    assert walker.calls == JOURNEY


@pytest.mark.parametrize("era", ERAS)
async def test_next_steps_lead_to_a_card_on_a_pinned_server(era: Era, tmp_path: Path) -> None:
    async with agent(tmp_path, era, MACHINES_USER_ID="walker") as user:
        walker = Walker(user.client, DATA)
        await walker.walk("status", VERIFIED)
    assert walker.calls == JOURNEY


async def test_next_steps_lead_to_a_card_from_the_last_call(user: Agent) -> None:
    walker = Walker(user.client, DATA | {"user_id": user.who})
    await walker.walk("create_card", VERIFIED)
    # No call has succeeded for this user yet, so the first step is to resolve the user.
    assert walker.calls == ["create_card", "resolve_user", *JOURNEY[3:]]
