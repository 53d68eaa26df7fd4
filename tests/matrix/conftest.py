"""Fixtures: the fake tool server of the protocol tests."""

from __future__ import annotations

from tests.protocol.conftest import clock, harness, store

__all__ = ["clock", "harness", "store"]
