"""Fixtures for tests of permissions, storage and redaction: a clock, a store and a guard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.policy import default_policy
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
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
def guard(store: Store, clock: Clock) -> Guard:
    """Build all parts of the guard, in `embedded` without a policy file."""
    return build_guard(store, default_policy("embedded", read_only=False), ANY_USER, clock=clock)
