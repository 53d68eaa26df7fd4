"""A server of fake tools over a store of its own for each test, and a real process per protocol era for all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from machines_mcp.storage.database import Store
from tests.protocol.fakes import House, house
from tests.protocol.process import ERAS, ODD_SERVER, Era, Served, serving
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(tmp_path / "state")
    yield opened
    await opened.close()


@pytest.fixture
def home(store: Store, clock: Clock) -> House:
    return house(store, clock)


@pytest.fixture(scope="session", params=ERAS)
async def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """The real server, with odd tools beside its own. It is shared: a test leaves nothing of its own unread."""
    era: Era = request.param
    async with serving(tmp_path_factory.mktemp(f"served-{era}"), era, command=ODD_SERVER) as running:
        yield running
