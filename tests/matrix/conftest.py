"""The server of fake tools that the tests of the protocol use."""

from __future__ import annotations

from tests.protocol.conftest import clock, home, store

__all__ = ["clock", "home", "store"]
