"""Desks of `sandbox` and `embedded`, and a signed-in browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.running_desk import FakeBrowser, RunningDesk, browser, running_desk


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[RunningDesk]:
    """A desk of `sandbox`, where every decision needs the passphrase."""
    async with running_desk(tmp_path / "state") as opened:
        yield opened


@pytest.fixture
async def simulated(tmp_path: Path) -> AsyncIterator[RunningDesk]:
    """A desk of `embedded`, which needs no passphrase."""
    async with running_desk(tmp_path / "state", "embedded") as opened:
        yield opened


@pytest.fixture
async def person(desk: RunningDesk) -> AsyncIterator[FakeBrowser]:
    """A browser signed in at the `sandbox` desk."""
    async with browser(desk) as opened:
        yield opened
