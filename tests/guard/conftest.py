"""A store of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from machines_mcp.guard.policy import default_policy
from machines_mcp.guard.store import Store
from machines_mcp.guard.wiring import Guard, wire_guard
from tests.guard.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(tmp_path / "state")
    yield opened
    await opened.close()


@pytest.fixture
def guard(store: Store, clock: Clock) -> Guard:
    """All parts of the guard, in `embedded` without a policy file."""
    return wire_guard(store, default_policy("embedded", read_only=False), clock=clock)
