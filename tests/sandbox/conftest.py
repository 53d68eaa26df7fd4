"""Fixtures of the sandbox's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sandbox.caller import Caller
from tests.sandbox.running import Sandbox, running


@pytest.fixture(scope="session")
def partner(sandbox: Sandbox) -> Iterator[Caller]:
    """A caller of the shared sandbox."""
    caller = Caller(sandbox)
    yield caller
    caller.close()


@pytest.fixture(scope="session")
def own_sandbox() -> Iterator[Caller]:
    """A caller of a sandbox that only these tests use: its clock may be moved and its state emptied.

    Both last: a test makes its own users, and looks at how times differ, never at what they are.
    """
    with running() as started:
        caller = Caller(started)
        yield caller
        caller.close()
