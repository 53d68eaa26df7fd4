"""Fixtures: a scripted upstream on loopback and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from machines_mcp.partner import PartnerClient
from machines_mcp.redaction.secret import Secret
from tests.support.partner_upstream import PARTNER_KEY, ScriptedUpstream, upstream
from tests.support.waiting import PATIENCE


@pytest.fixture
async def api() -> AsyncIterator[ScriptedUpstream]:
    """Serve a scripted upstream."""
    async with upstream() as server:
        yield server


@pytest.fixture
async def client(api: ScriptedUpstream) -> AsyncIterator[PartnerClient]:
    """Return a client for it, with a deadline long enough for a busy machine."""
    async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE) as partner:
        yield partner
