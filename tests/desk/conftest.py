"""A desk that needs the passphrase, and one where nothing is real."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.desk.desks import Browser, Office, browser, office


@pytest.fixture
async def found(tmp_path: Path) -> AsyncIterator[Office]:
    """A desk of `sandbox`: every decision needs the passphrase."""
    async with office(tmp_path / "state") as opened:
        yield opened


@pytest.fixture
async def simulated(tmp_path: Path) -> AsyncIterator[Office]:
    """A desk of `embedded`, where nobody has to show who they are."""
    async with office(tmp_path / "state", "embedded") as opened:
        yield opened


@pytest.fixture
async def person(found: Office) -> AsyncIterator[Browser]:
    """Somebody who is signed in at the desk that needs the passphrase."""
    async with browser(found) as opened:
        yield opened
