"""Provide a server of fake tools with its own store for each test, and one shared server process per era."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from machines_mcp.storage.database import Store
from tests.support.clock import Clock
from tests.support.fake_tools import Harness, build_harness
from tests.support.server_process import ERAS, ODD_SERVER, Era, Served, serving
from tests.support.state import clock, store

__all__ = ["clock", "harness", "served", "store"]


@pytest.fixture
def harness(store: Store, clock: Clock) -> Harness:
    return build_harness(store, clock)


@pytest.fixture(scope="session", params=ERAS)
async def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """The server process, with odd tools next to its own. Tests share it, so each must read all its responses."""
    era: Era = request.param
    async with serving(tmp_path_factory.mktemp(f"served-{era}"), era, command=ODD_SERVER) as running:
        yield running
