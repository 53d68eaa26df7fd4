"""Fixtures that the tests of commands share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Settings of a server that requires a passphrase."""
    return {
        "MACHINES_ENV": "sandbox",
        "MACHINES_PARTNER_KEY": "mk-0123456789",
        "MACHINES_USER_ID": "user-1",
        "MACHINES_STATE_DIR": str(tmp_path / "state"),
    }
