"""One server per module and era; one user and one person per test."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.support.approver import FakeApprover
from tests.support.stdio_client import ERAS, Agent, agent

_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=ERAS)
async def shared(
    request: pytest.FixtureRequest, anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Agent]:
    """Return the module's server in one era."""
    async with agent(tmp_path_factory.mktemp("state"), request.param) as found:
        yield found


def fresh(shared: Agent) -> Agent:
    """Return a new user of the same server, with a person who approves and has not been asked yet."""
    shared.person.answer = "accept"
    shared.person.asked.clear()
    return replace(shared, who=f"user-{next(_numbers)}")


@pytest.fixture
def user(shared: Agent) -> Agent:
    """Return a new user of the module's server."""
    return fresh(shared)


@pytest.fixture
def other(shared: Agent) -> Agent:
    """Return a second new user of the same server."""
    return fresh(shared)


@pytest.fixture
def person(shared: Agent) -> FakeApprover:
    """Return the person who answers the dialogs."""
    return shared.person
