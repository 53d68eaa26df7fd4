"""An upstream on loopback for every test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from machines_mcp.partner import PartnerClient
from machines_mcp.redaction.secret import Secret
from tests.partner.upstream import PARTNER_KEY, Upstream, upstream


@pytest.fixture
async def api() -> AsyncIterator[Upstream]:
    """A scripted upstream."""
    async with upstream() as server:
        yield server


@pytest.fixture
async def client(api: Upstream) -> AsyncIterator[PartnerClient]:
    """A client of it, with time enough on a busy machine."""
    async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=20) as partner:
        yield partner
