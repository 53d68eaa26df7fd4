"""Fixtures for the sandbox tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.running_sandbox import Sandbox, in_thread
from tests.support.sandbox_caller import SandboxClient


@pytest.fixture(scope="session")
def partner(sandbox: Sandbox) -> Iterator[SandboxClient]:
    """Return a caller of the shared sandbox."""
    caller = SandboxClient(sandbox)
    yield caller
    caller.close()


@pytest.fixture(scope="session")
def own_sandbox() -> Iterator[SandboxClient]:
    """Return a caller of a sandbox that only this folder's tests use: its clock may move and its state may be reset.

    Both changes persist. Each test creates its own users and compares time differences, never absolute times.
    """
    with in_thread() as started:
        caller = SandboxClient(started)
        yield caller
        caller.close()
