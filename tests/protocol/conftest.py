"""A server of fake tools over a store of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from machines_mcp.guard.store import Store
from tests.guard.clock import Clock
from tests.protocol.fakes import House, house


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
