"""Fixtures for the sandbox tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sandbox.caller import Caller
from tests.sandbox.running import Sandbox, in_thread


@pytest.fixture(scope="session")
def partner(sandbox: Sandbox) -> Iterator[Caller]:
    """Return a caller of the shared sandbox."""
    caller = Caller(sandbox)
    yield caller
    caller.close()


@pytest.fixture(scope="session")
def own_sandbox() -> Iterator[Caller]:
    """Return a caller of a sandbox that only this folder's tests use: its clock may move and its state may be reset.

    Both changes persist. Each test creates its own users and compares time differences, never absolute times.
    """
    with in_thread() as started:
        caller = Caller(started)
        yield caller
        caller.close()
